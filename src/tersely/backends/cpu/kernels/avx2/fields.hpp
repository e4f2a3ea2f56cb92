// Blocks of fields of 8-bit weights, 256 bits at a time, and rows of their bytes; also for AVX-512, which multiplies
// and adds in one instruction. Included by kernel files only; everything is internal to them. Isa has
//
//     add<Bits>(sum, f, g, x, y)    32-bit sums of rows + fields f x their four columns x + fields g x y, exact
//
// Multiplying runs straight through: weights that fields cannot hold are in a list, not marked, and cost no branch
// here.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tersely/backends/cpu/kernels/prefetch.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

#define TERSELY_FIELDS_INLINE inline __attribute__((always_inline))
#if defined(TERSELY_EMULATE)
#define TERSELY_FIELDS_SINK
#else
#define TERSELY_FIELDS_SINK __attribute__((always_inline))
#endif

constexpr int kRunBytes = 32;

// Bits of one part of width W moved to position P.
template <int W, int P>
TERSELY_FIELDS_INLINE __m256i part_bits(const uint8_t* runs, int half) {
  constexpr int kHalves = 8 / W;
  const __m256i run = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(runs + half / kHalves * kRunBytes));
  if constexpr (W == 8) return run;
  const int shift = half % kHalves * W - P;
  const __m256i moved = shift > 0 ? _mm256_srli_epi16(run, shift) : shift < 0 ? _mm256_slli_epi16(run, -shift) : run;
  return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(((1 << W) - 1) << P)));
}

// The 32 fields of one half-chunk.
template <int Bits>
TERSELY_FIELDS_INLINE __m256i half_chunk(const uint8_t* runs, int half) {
  if constexpr (Bits == 8) return part_bits<8, 0>(runs, half);
  constexpr int kSecond = Bits & 4, kThird = Bits & 6;
  __m256i fields = _mm256_setzero_si256();
  if constexpr ((Bits & 4) != 0) fields = part_bits<4, 0>(runs, half);
  if constexpr ((Bits & 2) != 0)
    fields = _mm256_or_si256(fields, part_bits<2, kSecond>(runs + kSecond * kRunBytes, half));
  if constexpr ((Bits & 1) != 0)
    fields = _mm256_or_si256(fields, part_bits<1, kThird>(runs + kThird * kRunBytes, half));
  return fields;
}

template <int Bits>
void unpack(const uint8_t* runs, int64_t blocks, __m256i base, __m256i flip, uint8_t* out) {
  for (int64_t block = 0; block < blocks; ++block, runs += kRunBytes * Bits, out += 256)
#pragma GCC unroll 8
    for (int half = 0; half < 8; ++half) {
      const __m256i words = _mm256_xor_si256(_mm256_add_epi8(half_chunk<Bits>(runs, half), base), flip);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + half * 32), words);
    }
}

TERSELY_FIELDS_INLINE __m256i four_columns(const int8_t* x) {
  int four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

template <class Isa, int Bits, int Slices>
void multiply(const uint8_t* runs, int64_t blocks, const int8_t* x, int64_t x_stride, int32_t* sums) {
  __m256i acc[Slices][2];
#pragma GCC unroll 8
  for (int i = 0; i < Slices * 2; ++i) acc[i / 2][i % 2] = _mm256_setzero_si256();
  for (int64_t block = 0; block < blocks; ++block, runs += kRunBytes * Bits, x += 16) {
#pragma GCC unroll 4
    for (int quarter = 0; quarter < 4; ++quarter) {
      // Two chunks, the same eight rows of both.
      const int pair = quarter / 2, half = quarter % 2;
      __m256i first = half_chunk<Bits>(runs, pair * 4 + half);
      if (quarter * 2 < Bits) prefetch_stream(first, runs + quarter * 64);
      const __m256i second = half_chunk<Bits>(runs, pair * 4 + 2 + half);
#pragma GCC unroll 3
      for (int s = 0; s < Slices; ++s) {
        const int8_t* from = x + s * x_stride + pair * 8;
        acc[s][half] = Isa::template add<Bits>(acc[s][half], first, second, four_columns(from), four_columns(from + 4));
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Slices * 2; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i * 8), acc[i / 2][i % 2]);
}

// How far ahead rows of bytes are asked for: four are read at once, and the next four follow them.
struct RowsAhead {
  int64_t near, far;

  // Whole groups of four rows ahead, so that every line is asked for once; along the rows where these are long.
  explicit RowsAhead(int64_t row_bytes) {
    constexpr int64_t kLongNear = 16384, kLongFar = 65536;
    const int64_t group = 4 * row_bytes;
    near = group <= 0 || group > kLongNear ? 1024 : (kPrefetchNearBytes + group - 1) / group * group;
    far = group <= 0 || group > kLongFar ? 4096 : (kPrefetchFarBytes + group - 1) / group * group;
  }
};

// Words: vectors of 16-bit words and of 32-bit sums of pairs, of kWords words, with widen<Signed>(kWords bytes),
// load(words), zero(), multiply_add(sum, a, b) and sums_of(four of them).
template <class Words, bool Signed, int Slices>
void multiply_rows_of_bytes(const uint8_t* const* rows, int64_t columns, const int16_t* x, int64_t x_stride,
                            int32_t* sums) {
  constexpr int kParts = 64 / Words::kWords;  // a line of each row
  typename Words::Vector acc[Slices][4];
#pragma GCC unroll 8
  for (int i = 0; i < Slices * 4; ++i) acc[i / 4][i % 4] = Words::zero();
  const RowsAhead ahead((rows[3] - rows[0]) / 3);
  const auto add_part = [&](int k, typename Words::Vector words, int64_t at) TERSELY_FIELDS_SINK {
#pragma GCC unroll 2
    for (int s = 0; s < Slices; ++s)
      acc[s][k] = Words::multiply_add(acc[s][k], words, Words::load(x + s * x_stride + at));
  };
  int64_t i = 0;
  for (; i + 64 <= columns; i += 64)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const uint8_t* at = rows[k] + i;
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        auto words = Words::template widen<Signed>(at + part * Words::kWords);
        if (part == 0) prefetch_both(words, at + ahead.near, at + ahead.far);
        add_part(k, words, i + part * Words::kWords);
      }
    }
  for (; i + Words::kWords <= columns; i += Words::kWords)
    for (int k = 0; k < 4; ++k) add_part(k, Words::template widen<Signed>(rows[k] + i), i);
#pragma GCC unroll 2
  for (int s = 0; s < Slices; ++s) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + s * 4), Words::sums_of(acc[s]));
    for (int k = 0; k < 4; ++k)
      for (int64_t c = i; c < columns; ++c)
        sums[s * 4 + k] += (Signed ? static_cast<int8_t>(rows[k][c]) : rows[k][c]) * x[s * x_stride + c];
  }
}

template <class Isa, int Slices>
void multiply_any(const uint8_t* fields, int64_t blocks, int bits, const int8_t* x, int64_t x_stride, int32_t* sums) {
  switch (bits) {
    case 0:
      __builtin_memset(sums, 0, Slices * 16 * 4);
      break;
    case 1:
      return multiply<Isa, 1, Slices>(fields, blocks, x, x_stride, sums);
    case 2:
      return multiply<Isa, 2, Slices>(fields, blocks, x, x_stride, sums);
    case 3:
      return multiply<Isa, 3, Slices>(fields, blocks, x, x_stride, sums);
    case 4:
      return multiply<Isa, 4, Slices>(fields, blocks, x, x_stride, sums);
    case 5:
      return multiply<Isa, 5, Slices>(fields, blocks, x, x_stride, sums);
    case 6:
      return multiply<Isa, 6, Slices>(fields, blocks, x, x_stride, sums);
    case 7:
      return multiply<Isa, 7, Slices>(fields, blocks, x, x_stride, sums);
    default:
      return multiply<Isa, 8, Slices>(fields, blocks, x, x_stride, sums);
  }
}

template <class Isa>
void multiply_fields(const uint8_t* fields, int64_t blocks, int bits, const int8_t* x, int64_t x_stride, int slices,
                     int32_t* sums) {
  if (slices == 1) return multiply_any<Isa, 1>(fields, blocks, bits, x, x_stride, sums);
  multiply_any<Isa, 3>(fields, blocks, bits, x, x_stride, sums);
}

template <class Words>
void multiply_bytes(const uint8_t* const* rows, int64_t columns, bool is_signed, const int16_t* x, int64_t x_stride,
                    int slices, int32_t* sums) {
  if (is_signed) {
    if (slices == 1) return multiply_rows_of_bytes<Words, true, 1>(rows, columns, x, x_stride, sums);
    return multiply_rows_of_bytes<Words, true, 2>(rows, columns, x, x_stride, sums);
  }
  if (slices == 1) return multiply_rows_of_bytes<Words, false, 1>(rows, columns, x, x_stride, sums);
  multiply_rows_of_bytes<Words, false, 2>(rows, columns, x, x_stride, sums);
}

}  // namespace
}  // namespace tersely
