// Palette chunks under AVX-512: one permute of dwords is 16 lookups, one of two registers 16 lookups among 32 words.
//
// for each column of a chunk (16 indices): bytes to dwords, shifted so that the index is at the bottom; permute
// Permutes look at as many low bits as their table needs, and tables repeat, so nothing above an index is cleared. The
// bit of a part of one bit is a mask register's already: two lookups, the second under the mask.
#include "laconic/formulations/palette/streams.hpp"
#include "laconic/kernels/avx512/chunks.hpp"
#include "laconic/kernels/table.hpp"

namespace laconic {
namespace {

LACONIC_INLINE __m512i widen16(const uint8_t* at) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

// The first 64 words of a lookup in registers, as many as its kernels use.
struct Tables {
  __m512 t[4];
};

// 16 words by index; what lies above the lowest Bits bits does not count.
template <int Bits>
LACONIC_INLINE __m512 look_up(const Tables& tables, const Lookup& lookup, __m512i index) {
  if constexpr (Bits == 4) {
    return _mm512_permutexvar_ps(index, tables.t[0]);
  } else if constexpr (Bits == 5) {
    return _mm512_permutex2var_ps(tables.t[0], index, tables.t[1]);
  } else if constexpr (Bits == 6) {
    const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32));
    return _mm512_mask_mov_ps(_mm512_permutex2var_ps(tables.t[0], index, tables.t[1]), upper,
                              _mm512_permutex2var_ps(tables.t[2], index, tables.t[3]));
  } else {
    return _mm512_i32gather_ps(index, lookup.dwords, 4);
  }
}

// Words of one column of a chunk.
template <int Stream, int Bits>
LACONIC_INLINE __m512 column_words(const Tables& tables, const Lookup& lookup, const uint8_t* at, int column) {
  if constexpr (Stream == 8) return look_up<Bits>(tables, lookup, widen16(at + column * 16));
  const uint8_t* at2 = at + (Stream & 4) * 8;
  const auto bit = static_cast<__mmask16>(Stream & 1 ? load64(at + (Stream & 6) * 8) >> (16 * column) : 0);
  if constexpr (Stream == 1)
    return _mm512_mask_mov_ps(_mm512_set1_ps(__builtin_bit_cast(float, lookup.dwords[0])), bit,
                              _mm512_set1_ps(__builtin_bit_cast(float, lookup.dwords[1])));
  __m512i index = Stream & 4 ? widen16(at + column % 2 * 16) : _mm512_setzero_si512();
  if (Stream & 4 && column >= 2) index = _mm512_srli_epi32(index, 4);
  if constexpr ((Stream & 2) != 0) {
    const __m512i fields = _mm512_srli_epi32(widen16(at2), 2 * static_cast<unsigned>(column));
    if constexpr ((Stream & 4) == 0) {
      index = fields;
    } else {
      index = _mm512_or_si512(_mm512_and_si512(index, _mm512_set1_epi32(15)),
                              _mm512_slli_epi32(_mm512_and_si512(fields, _mm512_set1_epi32(3)), 4));
    }
  }
  if constexpr (Stream == 3) {
    // Entry i of the second table is word 4 + i % 4: two bits are left to look up.
    return _mm512_mask_mov_ps(look_up<4>({{tables.t[2]}}, lookup, index), bit,
                              look_up<4>({{tables.t[3]}}, lookup, index));
  } else if constexpr (Stream == 5) {
    return _mm512_mask_mov_ps(look_up<4>(tables, lookup, index), bit, look_up<4>({{tables.t[1]}}, lookup, index));
  } else if constexpr (Stream == 7) {
    alignas(64) static constexpr uint32_t kBit[16] = {64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64};
    return look_up<8>(tables, lookup, _mm512_or_si512(index, _mm512_castps_si512(_mm512_maskz_loadu_ps(bit, kBit))));
  } else {
    return look_up<Bits>(tables, lookup, index);
  }
}

template <int Stream, int Bits>
LACONIC_INLINE Tables load_tables(const Lookup& lookup) {
  Tables tables;
  for (int i = 0; i < 4; ++i) tables.t[i] = _mm512_loadu_ps(lookup.dwords + 16 * i);
  if constexpr (Stream == 3) {
    alignas(64) uint32_t repeated[2][16];
    for (int i = 0; i < 32; ++i) repeated[i / 16][i % 16] = lookup.dwords[i / 16 * 4 + i % 4];
    tables.t[2] = _mm512_loadu_ps(repeated[0]);
    tables.t[3] = _mm512_loadu_ps(repeated[1]);
  }
  return tables;
}

// Calls sink(j, words of the four columns) for each chunk.
template <int Stream, int Bits, class Sink>
LACONIC_INLINE void for_chunks(const Lookup& lookup, const uint8_t* at, int64_t chunks, Sink&& sink) {
  const Tables tables = load_tables<Stream, Bits>(lookup);
  for (int64_t j = 0; j < chunks; ++j, at += 8 * Stream) {
    _mm_prefetch(reinterpret_cast<const char*>(at + 1536), _MM_HINT_T0);
    __m512 f[4];
#pragma GCC unroll 4
    for (int column = 0; column < 4; ++column) f[column] = column_words<Stream, Bits>(tables, lookup, at, column);
    sink(j, f);
  }
}

template <int Stream, int Bits, int Batch>
void multiply(const Lookup& lookup, const uint8_t* at, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  constexpr int kSums = Batch == 4 ? 2 : 4;  // enough that no FMA waits for the one before
  __m512 acc[Batch * kSums];
#pragma GCC unroll 16
  for (int i = 0; i < Batch * kSums; ++i) acc[i] = _mm512_setzero_ps();
  for_chunks<Stream, Bits>(lookup, at, chunks, [&](int64_t j, const __m512(&f)[4]) LACONIC_SINK {
#pragma GCC unroll 16
    for (int k = 0; k < Batch * 4; ++k) {
      __m512& sum = acc[k / 4 * kSums + k % kSums];
      sum = _mm512_fmadd_ps(f[k % 4], _mm512_set1_ps(x[k / 4 * x_stride + j * 4 + k % 4]), sum);
    }
  });
#pragma GCC unroll 4
  for (int b = 0; b < Batch; ++b) {
    __m512 sum = _mm512_add_ps(acc[b * kSums], acc[b * kSums + 1]);
    if constexpr (kSums == 4) sum = _mm512_add_ps(sum, _mm512_add_ps(acc[b * kSums + 2], acc[b * kSums + 3]));
    _mm512_storeu_ps(sums + b * 16, _mm512_add_ps(_mm512_loadu_ps(sums + b * 16), sum));
  }
}

template <int Batch>
void product(const Parameters&, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  const Lookup& floats = cursor.palette->floats;
  for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
    multiply<decltype(stream)::value, decltype(bits)::value, Batch>(floats, at, count, x + first * 4, x_stride, sums);
  });
}

void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  const Lookup& floats = cursor.palette->floats;
  for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
    for_chunks<decltype(stream)::value, decltype(bits)::value>(
        floats, at, count, [&](int64_t j, const __m512(&f)[4]) LACONIC_SINK {
          for (int i = 0; i < 4; ++i) _mm512_storeu_ps(out + (first + j) * 64 + i * 16, f[i]);
        });
  });
}

template <DType D>
void decode_words(const Parameters& p, Cursor& cursor, int64_t chunks, void* out) {
  if constexpr (D == DType::kFloat32) {
    decode_floats(p, cursor, chunks, static_cast<float*>(out));
  } else {
    const Lookup& words = cursor.palette->words;
    for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
      for_chunks<decltype(stream)::value, decltype(bits)::value>(
          words, at, count, [&](int64_t j, const __m512(&f)[4]) LACONIC_SINK {
            uint8_t* to = static_cast<uint8_t*>(out) + (first + j) * 128;
            for (int pair = 0; pair < 2; ++pair) {
              const __m512i first_words = _mm512_castps_si512(f[2 * pair]);
              const __m512i second_words = _mm512_castps_si512(f[2 * pair + 1]);
              if constexpr (D == DType::kBfloat16) {
                _mm512_storeu_si512(to + pair * 64, _mm512_or_si512(first_words, _mm512_slli_epi32(second_words, 16)));
              } else {
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + pair * 64), _mm512_cvtepi32_epi16(first_words));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + pair * 64 + 32),
                                    _mm512_cvtepi32_epi16(second_words));
              }
            }
          });
    });
  }
}

// Entry by entry: assigning the whole struct would use AVX-512 here, and tables are filled on every machine.
template <DType D>
void fill(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][kPaletteIndex][0];
  kernels.decode_words = decode_words<D>;
  kernels.decode_floats = decode_floats;
  kernels.product[0] = product<1>;
  kernels.product[1] = product<2>;
  kernels.product[2] = product<4>;
}

}  // namespace

void fill_avx512_palette(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace laconic
