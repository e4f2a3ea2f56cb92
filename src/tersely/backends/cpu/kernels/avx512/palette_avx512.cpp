// Palette chunks under AVX-512. Up to 16 words: one permute of dwords is 16 lookups, beside each other for each column.
// More words: byte by byte (planes.hpp).
//
// for each column of a chunk (16 indices): bytes to dwords, shifted so that the index is at the bottom; permute
// Permutes look at four bits, and tables repeat, so nothing above an index is cleared. The bit of a part of one bit is
// a mask register's already: two lookups, the second under the mask.
#include "tersely/backends/cpu/kernels/avx512/planes.hpp"
#include "tersely/backends/cpu/kernels/index_blocks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

TERSELY_INLINE __m512i widen16(const uint8_t* at) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

// The words of a lookup: 16 of them; for three bits, the first and the second four, repeated.
struct Tables {
  __m512 t[2];
};

// 16 words by index.
TERSELY_INLINE __m512 look_up(__m512 table, __m512i index) { return _mm512_permutexvar_ps(index, table); }

// Words of one column of a chunk whose stream has `Stream` bits of each index: up to four, or bytes.
template <int Stream>
TERSELY_INLINE __m512 column_words(const Tables& tables, const uint8_t* at, int column) {
  if constexpr (Stream == 8) return look_up(tables.t[0], widen16(at + column * 16));
  const auto bit = static_cast<__mmask16>(Stream & 1 ? load64(at + (Stream & 6) * 8) >> (16 * column) : 0);
  if constexpr (Stream == 1) return _mm512_mask_mov_ps(tables.t[0], bit, tables.t[1]);
  if constexpr (Stream == 4) {
    const __m512i index = widen16(at + column % 2 * 16);
    return look_up(tables.t[0], column < 2 ? index : _mm512_srli_epi32(index, 4));
  }
  const __m512i index = _mm512_srli_epi32(widen16(at), 2 * static_cast<unsigned>(column));
  if constexpr (Stream == 2) return look_up(tables.t[0], index);
  return _mm512_mask_mov_ps(look_up(tables.t[0], index), bit, look_up(tables.t[1], index));
}

template <int Stream>
TERSELY_INLINE Tables load_tables(const Lookup& lookup) {
  alignas(64) uint32_t words[2][16];
  for (int i = 0; i < 32; ++i) {
    const int half = i / 16, place = i % 16;
    words[half][place] = lookup.dwords[Stream == 1 ? half : Stream == 3 ? half * 4 + place % 4 : i];
  }
  return {{_mm512_loadu_ps(words[0]), _mm512_loadu_ps(words[1])}};
}

// Calls sink(j, words of the four columns) for each chunk.
template <int Stream, class Sink>
TERSELY_INLINE void for_chunks(const Lookup& lookup, const uint8_t* at, int64_t chunks, Sink&& sink) {
  const Tables tables = load_tables<Stream>(lookup);
  for (int64_t j = 0; j < chunks; ++j, at += 8 * Stream) {
    __m512 f[4];
#pragma GCC unroll 4
    for (int column = 0; column < 4; ++column) f[column] = column_words<Stream>(tables, at, column);
    if (j * 8 * Stream % 64 < 8 * Stream) {
      __m512i beside = _mm512_castps_si512(f[0]);
      prefetch_stream(beside, at);
      f[0] = _mm512_castsi512_ps(beside);
    }
    sink(j, f);
  }
}

template <int Stream, int Batch>
void multiply(const Lookup& lookup, const uint8_t* at, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  constexpr int kSums = Batch == 4 ? 2 : 4;  // enough that no FMA waits for the one before
  __m512 acc[Batch * kSums];
#pragma GCC unroll 16
  for (int i = 0; i < Batch * kSums; ++i) acc[i] = _mm512_setzero_ps();
  for_chunks<Stream>(lookup, at, chunks, [&](int64_t j, const __m512(&f)[4]) TERSELY_SINK {
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
    constexpr int kStream = decltype(stream)::value, kBits = decltype(bits)::value;
    if constexpr (kBits == 4)
      multiply<kStream, Batch>(floats, at, count, x + first * 4, x_stride, sums);
    else
      multiply_planes<kStream, kBits, Batch>(floats, at, count, x + first * 4, x_stride, sums);
  });
}

void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  const Lookup& floats = cursor.palette->floats;
  for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
    constexpr int kStream = decltype(stream)::value, kBits = decltype(bits)::value;
    if constexpr (kBits == 4)
      for_chunks<kStream>(floats, at, count, [&](int64_t j, const __m512(&f)[4]) TERSELY_SINK {
        for (int i = 0; i < 4; ++i) _mm512_storeu_ps(out + (first + j) * 64 + i * 16, f[i]);
      });
    else
      decode_planes<kStream, kBits>(floats, at, count, out + first * 64);
  });
}

// Dwords of two columns, words below zeros, as words in vector order.
template <DType D>
TERSELY_INLINE void store_words(__m512i first, __m512i second, uint8_t* to) {
  if constexpr (D == DType::kBfloat16) {
    _mm512_storeu_si512(to, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(first));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32), _mm512_cvtepi32_epi16(second));
  }
}

template <DType D>
void decode_words(const Parameters& p, Cursor& cursor, int64_t chunks, void* out) {
  if constexpr (D == DType::kFloat32) return decode_floats(p, cursor, chunks, static_cast<float*>(out));
  const Lookup& words = cursor.palette->words;
  for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
    constexpr int kStream = decltype(stream)::value, kBits = decltype(bits)::value;
    uint8_t* to = static_cast<uint8_t*>(out) + first * 128;
    if constexpr (kBits == 4)
      for_chunks<kStream>(words, at, count, [&](int64_t j, const __m512(&f)[4]) TERSELY_SINK {
        for (int pair = 0; pair < 2; ++pair)
          store_words<D>(_mm512_castps_si512(f[2 * pair]), _mm512_castps_si512(f[2 * pair + 1]),
                         to + j * 128 + pair * 64);
      });
    else
      decode_plane_words<kStream, kBits, D == DType::kBfloat16>(words, at, count, to);
  });
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

}  // namespace tersely
