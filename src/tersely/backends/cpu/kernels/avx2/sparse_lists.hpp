// Sixteen lanes of gaps as lists, four entries of each at a time; included by the kernels of AVX2 and AVX-512, and
// internal to them.
#pragma once

#include <immintrin.h>

#include "tersely/backends/cpu/kernels/sparse.hpp"

namespace tersely {
namespace {

struct GapBlock {
  __m256i column[2];  // of 16 lanes
  const __m256i last, step;
  const int* const places;

  GapBlock(int64_t last_column, SparsePlaces where)
      : column{_mm256_setzero_si256(), _mm256_setzero_si256()},
        last(_mm256_set1_epi32(static_cast<int>(last_column))),
        step(_mm256_set1_epi32(static_cast<int>(where.step))),
        places(reinterpret_cast<const int*>(where.at)) {}

  // at: where the columns of four entries of each lane lie. Whether no word of theirs is zero bits.
  template <bool Even>
  bool next(const uint8_t* gaps, const uint8_t* values, __m256i (&at)[2][4]) {
    __m256i empty = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s)
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m128i gap = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(gaps + s * 16 + half * 8));
        // SAFE BECAUSE: a sum of gaps, which are payload, is clamped to the last column.
        column[half] = _mm256_min_epi32(_mm256_add_epi32(column[half], _mm256_cvtepu8_epi32(gap)), last);
        at[half][s] = Even ? _mm256_mullo_epi32(column[half], step) : _mm256_i32gather_epi32(places, column[half], 4);
        const __m256i words = load(values, half, s);
        empty = _mm256_or_si256(empty, _mm256_cmpeq_epi32(words, _mm256_setzero_si256()));
      }
    return _mm256_testz_si256(empty, empty) != 0;
  }

  static __m256i load(const uint8_t* values, int half, int s) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + s * 64 + half * 32));
  }

  // Writes four entries of each lane.
  static void store(const uint8_t* values, const __m256i (&at)[2][4], SparseEntry* entries, uint32_t (&next)[16]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i low[4], high[4];  // of lanes 0, 1, 4, 5 and 2, 3, 6, 7
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) {
        const __m256i words = load(values, half, s);
        low[s] = _mm256_unpacklo_epi32(words, at[half][s]);
        high[s] = _mm256_unpackhi_epi32(words, at[half][s]);
      }
      const auto lanes = [&](const __m256i(&pairs)[4], int lane) {
        const __m256i even[2] = {_mm256_unpacklo_epi64(pairs[0], pairs[1]), _mm256_unpacklo_epi64(pairs[2], pairs[3])};
        const __m256i odd[2] = {_mm256_unpackhi_epi64(pairs[0], pairs[1]), _mm256_unpackhi_epi64(pairs[2], pairs[3])};
        append(entries, next[lane], _mm256_permute2x128_si256(even[0], even[1], 0x20));
        append(entries, next[lane + 1], _mm256_permute2x128_si256(odd[0], odd[1], 0x20));
        append(entries, next[lane + 4], _mm256_permute2x128_si256(even[0], even[1], 0x31));
        append(entries, next[lane + 5], _mm256_permute2x128_si256(odd[0], odd[1], 0x31));
      };
      lanes(low, half * 8), lanes(high, half * 8 + 2);
    }
  }

  static void append(SparseEntry* entries, uint32_t& next, __m256i four) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(entries + next), four);
    next += 4;
  }
};

template <bool Even>
void list_gaps_of(const uint8_t* gaps, const uint8_t* values, int64_t blocks, int64_t last_column, SparsePlaces places,
                  SparseEntry* entries, const uint32_t* first) {
  uint32_t next[16];
  __builtin_memcpy(next, first, sizeof next);
  GapBlock block(last_column, places);
  for (int64_t i = 0; i < blocks; ++i, gaps += 64, values += 256) {
    __m256i at[2][4];
    if (block.next<Even>(gaps, values, at)) {
      GapBlock::store(values, at, entries, next);
    } else {
      uint32_t found[2][4][8];
      __builtin_memcpy(found, at, sizeof found);
      for (int lane = 0; lane < 16; ++lane)
        for (int s = 0; s < 4; ++s) {
          uint32_t word;
          __builtin_memcpy(&word, values + s * 64 + lane * 4, 4);
          SparseEntry& entry = entries[next[lane]];
          __builtin_memcpy(&entry.value, &word, 4);
          entry.at = found[lane / 8][s][lane % 8];
          next[lane] += word != 0;
        }
    }
  }
  for (int lane = 0; lane < 16; ++lane) entries[next[lane]].at = kSparseEnd;
}

void list_gaps(const uint8_t* gaps, const uint8_t* values, int64_t blocks, int64_t last_column, SparsePlaces places,
               SparseEntry* entries, const uint32_t* first) {
  if (places.at == nullptr) return list_gaps_of<true>(gaps, values, blocks, last_column, places, entries, first);
  list_gaps_of<false>(gaps, values, blocks, last_column, places, entries, first);
}

}  // namespace
}  // namespace tersely
