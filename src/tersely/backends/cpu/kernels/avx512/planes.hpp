// Palette chunks of 5 to 8 bits under AVX-512: words byte by byte, 64 lookups of one byte at once.
//
// indices of a chunk to 64 bytes, position by position; for each byte of a word: look it up in 64, 128 or 256;
// interleave
//
// A lane of 128 bits is a column of the chunk, and interleaving stays inside lanes: vector k has rows 4 k .. 4 k + 3 of
// all four columns. So a product multiplies them by one vector of x, and adds up the columns at its end.
// MEASURED on Zen 4 from cache, 256 words: by gathers 76 cycles a chunk, so 18 in float32 and 12 in bfloat16.
// Included by kernel files only; everything is internal to them.
#pragma once

#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"
#include "tersely/backends/cpu/kernels/lookup.hpp"

namespace tersely {
namespace {

// Indices of a chunk whose stream has `Stream` bits of each. What lies above the lowest bits that a lookup of so many
// looks at does not count, and is not cleared.
template <int Stream>
TERSELY_INLINE __m512i chunk_indices(const uint8_t* at) {
  static_assert(Stream >= 4);
  if constexpr (Stream == 8) return load512(at);
  const __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  const __m512i four = _mm512_mask_srli_epi16(both, 0xFFFF0000u, both, 4);
  __m512i indices = _mm512_and_si512(four, _mm512_set1_epi8(15));
  if constexpr ((Stream & 2) != 0) {
    // Eight bits from bit 2 c - 4 of each byte on, for column c: its two bits are bits 4 and 5 there.
    alignas(64) static constexpr uint8_t kFrom[64] = {60, 4,  12, 20, 28, 36, 44, 52, 60, 4,  12, 20, 28, 36, 44, 52,
                                                      62, 6,  14, 22, 30, 38, 46, 54, 62, 6,  14, 22, 30, 38, 46, 54,
                                                      0,  8,  16, 24, 32, 40, 48, 56, 0,  8,  16, 24, 32, 40, 48, 56,
                                                      2,  10, 18, 26, 34, 42, 50, 58, 2,  10, 18, 26, 34, 42, 50, 58};
    const __m512i rows = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 32)));
    const __m512i two = _mm512_multishift_epi64_epi8(_mm512_load_si512(kFrom), rows);
    indices = _mm512_or_si512(indices, _mm512_and_si512(two, _mm512_set1_epi8(0x30)));
  }
  if constexpr ((Stream & 1) != 0)
    indices = _mm512_mask_add_epi8(indices, load64(at + (Stream & 6) * 8), indices,
                                   _mm512_set1_epi8(static_cast<char>(1 << (Stream & 6))));
  return indices;
}

// One byte of each of up to 2^Bits words.
template <int Bits>
struct PlaneTable {
  static constexpr int kRegisters = Bits <= 6 ? 1 : Bits == 7 ? 2 : 4;
  __m512i t[kRegisters];
  TERSELY_INLINE void load(const uint8_t* plane) {
    for (int i = 0; i < kRegisters; ++i) t[i] = load512(plane + 64 * i);
  }
  // upper: which indices are 128 or more.
  TERSELY_INLINE __m512i look_up(__m512i indices, __mmask64 upper) const {
    if constexpr (Bits <= 6) return _mm512_permutexvar_epi8(indices, t[0]);
    const __m512i low = _mm512_permutex2var_epi8(t[0], indices, t[1]);
    if constexpr (Bits == 7) return low;
    return _mm512_mask_mov_epi8(low, upper, _mm512_permutex2var_epi8(t[2], indices, t[3]));
  }
};

// Bytes First .. First + Count - 1 of words.
template <int Bits, int First, int Count>
struct PlaneTables {
  PlaneTable<Bits> of[Count];
  explicit TERSELY_INLINE PlaneTables(const Lookup& lookup) {
    for (int i = 0; i < Count; ++i) of[i].load(lookup.planes[First + i]);
  }
  // Pairs of bytes as words of 16 bits: [pair][rows 0 .. 7, rows 8 .. 15].
  TERSELY_INLINE void look_up(__m512i indices, __m512i (&words)[Count / 2][2]) const {
    const __mmask64 upper = Bits == 8 ? _mm512_movepi8_mask(indices) : 0;
    for (int i = 0; i < Count / 2; ++i) {
      const __m512i low = of[2 * i].look_up(indices, upper), high = of[2 * i + 1].look_up(indices, upper);
      words[i][0] = _mm512_unpacklo_epi8(low, high);
      words[i][1] = _mm512_unpackhi_epi8(low, high);
    }
  }
};

// Pairs of words as dwords, vector k with rows 4 k .. 4 k + 3. One pair is the upper one, above zeros.
template <int Pairs>
TERSELY_INLINE void to_dwords(const __m512i (&words)[Pairs][2], __m512 (&f)[4]) {
  for (int half = 0; half < 2; ++half) {
    const __m512i upper = words[Pairs - 1][half], lower = Pairs == 2 ? words[0][half] : _mm512_setzero_si512();
    f[2 * half] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(lower, upper));
    f[2 * half + 1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(lower, upper));
  }
}

// Columns 4 j .. 4 j + 3 of x, four times each.
TERSELY_INLINE __m512 four_columns(const float* x) {
  alignas(64) static constexpr uint32_t kLane[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  return _mm512_permutexvar_ps(_mm512_load_si512(kLane), _mm512_castps128_ps512(_mm_loadu_ps(x)));
}

// Four lanes of each of four vectors: lane k of vector i becomes lane i of vector k.
TERSELY_INLINE void transpose_lanes(__m512 (&f)[4]) {
  __m512i a[4], v[4];
  for (int i = 0; i < 4; ++i) v[i] = _mm512_castps_si512(f[i]);
  for (int i = 0; i < 2; ++i) {
    a[2 * i] = _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x44);
    a[2 * i + 1] = _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xEE);
  }
  for (int i = 0; i < 2; ++i) {
    f[2 * i] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a[i], a[2 + i], 0x88));
    f[2 * i + 1] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a[i], a[2 + i], 0xDD));
  }
}

// Lookups of 5, 6, 7 and 8 bits; a stream of seven needs no more than seven.
constexpr int plane_bits(int stream, int bits) { return stream == 7 ? 7 : bits; }

template <int Stream, int Bits, int Pairs, int Batch>
void multiply_planes(const Lookup& lookup, const uint8_t* at, int64_t chunks, const float* x, int64_t x_stride,
                     float* sums) {
  const PlaneTables<plane_bits(Stream, Bits), 4 - 2 * Pairs, 2 * Pairs> tables(lookup);
  __m512 acc[Batch][4];
  for (int i = 0; i < Batch * 4; ++i) acc[i / 4][i % 4] = _mm512_setzero_ps();
  for (int64_t j = 0; j < chunks; ++j, at += 8 * Stream) {
    __m512i indices = chunk_indices<Stream>(at), words[Pairs][2];
    prefetch_stream(indices, at);
    tables.look_up(indices, words);
    __m512 f[4];
    to_dwords<Pairs>(words, f);
#pragma GCC unroll 4
    for (int b = 0; b < Batch; ++b) {
      const __m512 columns = four_columns(x + b * x_stride + j * 4);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) acc[b][k] = _mm512_fmadd_ps(f[k], columns, acc[b][k]);
    }
  }
  for (int b = 0; b < Batch; ++b) {
    transpose_lanes(acc[b]);
    const __m512 sum = _mm512_add_ps(_mm512_add_ps(acc[b][0], acc[b][1]), _mm512_add_ps(acc[b][2], acc[b][3]));
    _mm512_storeu_ps(sums + b * 16, _mm512_add_ps(_mm512_loadu_ps(sums + b * 16), sum));
  }
}

template <int Stream, int Bits, int Batch>
void multiply_planes(const Lookup& lookup, const uint8_t* at, int64_t chunks, const float* x, int64_t x_stride,
                     float* sums) {
  if (lookup.upper_only) return multiply_planes<Stream, Bits, 1, Batch>(lookup, at, chunks, x, x_stride, sums);
  multiply_planes<Stream, Bits, 2, Batch>(lookup, at, chunks, x, x_stride, sums);
}

// Dwords column by column: out[chunk * 64 + column * 16 + row].
template <int Stream, int Bits>
void decode_planes(const Lookup& lookup, const uint8_t* at, int64_t chunks, float* out) {
  const PlaneTables<plane_bits(Stream, Bits), 0, 4> tables(lookup);
  for (int64_t j = 0; j < chunks; ++j, at += 8 * Stream) {
    __m512i words[2][2];
    tables.look_up(chunk_indices<Stream>(at), words);
    __m512 f[4];
    to_dwords<2>(words, f);
    transpose_lanes(f);
    for (int i = 0; i < 4; ++i) _mm512_storeu_ps(out + j * 64 + i * 16, f[i]);
  }
}

// Words of 16 bits in vector order: column by column, or, for bfloat16, column pairs row by row.
template <int Stream, int Bits, bool Paired>
void decode_plane_words(const Lookup& lookup, const uint8_t* at, int64_t chunks, uint8_t* out) {
  alignas(64) static constexpr auto kPositions = [] {
    struct {
      uint16_t of[2][32];
    } t{};
    for (int i = 0; i < 64; ++i) {
      const int row = Paired ? i % 32 / 2 : i % 16, column = i / 32 * 2 + (Paired ? i % 2 : i % 32 / 16);
      t.of[i / 32][i % 32] = static_cast<uint16_t>(row / 8 * 32 + column * 8 + row % 8);
    }
    return t;
  }();
  const PlaneTables<plane_bits(Stream, Bits), 0, 2> tables(lookup);
  for (int64_t j = 0; j < chunks; ++j, at += 8 * Stream) {
    __m512i words[1][2];
    tables.look_up(chunk_indices<Stream>(at), words);
    for (int i = 0; i < 2; ++i)
      _mm512_storeu_si512(out + j * 128 + i * 64,
                          _mm512_permutex2var_epi16(words[0][0], load512(kPositions.of[i]), words[0][1]));
  }
}

}  // namespace
}  // namespace tersely
