// Palette chunks under AVX2: a byte shuffle is 32 lookups of one byte of the words, and unpacking joins the bytes.
//
// for each pair of columns (32 indices): look up each byte plane; join bytes, then halves
// That leaves vectors of four rows of both columns: v[q] = rows 4 q .. 4 q + 3 of the first | of the second. A product
// needs no other order: x goes in as x[first] x 4 | x[second] x 4, and the two halves of the sums are added at the end.
// Tables of 32 and 64 words take two and four shuffles and choose by the index's upper bits; larger ones are read word
// by word, because gathers of this set cost more than that on the processors that have nothing newer.
#include "laconic/formulations/palette/streams.hpp"
#include "laconic/kernels/avx2/chunks.hpp"
#include "laconic/kernels/table.hpp"

namespace laconic {
namespace {

LACONIC_INLINE __m256i broadcast128(const void* at) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(at)));
}

// Indices of one chunk: columns 0 and 1, then 2 and 3.
template <int Stream>
LACONIC_INLINE void chunk_indices(const uint8_t* at, __m256i (&index)[2]) {
  if constexpr (Stream == 8) {
    index[0] = load256(at);
    index[1] = load256(at + 32);
    return;
  }
  constexpr int kShift2 = Stream & 4 ? 4 : 0, kShift1 = kShift2 + (Stream & 2 ? 2 : 0);
  index[0] = index[1] = _mm256_setzero_si256();
  if constexpr ((Stream & 4) != 0) {
    const __m256i both = load256(at), fifteen = _mm256_set1_epi8(15);
    index[0] = _mm256_and_si256(both, fifteen);
    index[1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), fifteen);
  }
  if constexpr ((Stream & 2) != 0) {
    const __m256i all = broadcast128(at + (Stream & 4) * 8), three = _mm256_set1_epi8(3);
    const __m256i shift = _mm256_setr_epi64x(0, 0, 2, 2);
    const __m256i spread = _mm256_srlv_epi64(all, shift);
    index[0] = _mm256_or_si256(index[0], _mm256_slli_epi16(_mm256_and_si256(spread, three), kShift2));
    index[1] = _mm256_or_si256(
        index[1], _mm256_slli_epi16(_mm256_and_si256(_mm256_srli_epi16(spread, 4), three), kShift2));
  }
  if constexpr ((Stream & 1) != 0) {
    const uint64_t plane = load64(at + (Stream & 6) * 8);
    const __m256i value = _mm256_set1_epi8(1 << kShift1);
    for (int p = 0; p < 2; ++p)
      index[p] =
          _mm256_or_si256(index[p], _mm256_and_si256(bits_to_bytes(static_cast<uint32_t>(plane >> (32 * p))), value));
  }
}

// One byte plane of 32 words. Bits 4: 16 words, and so on.
template <int Bits>
LACONIC_INLINE __m256i look_up(const uint8_t* plane, __m256i index) {
  const __m256i first = _mm256_shuffle_epi8(broadcast128(plane), index);
  if constexpr (Bits == 4) return first;
  const __m256i bit4 = _mm256_slli_epi16(index, 3);  // in the top bit of its byte
  const __m256i lower = _mm256_blendv_epi8(first, _mm256_shuffle_epi8(broadcast128(plane + 16), index), bit4);
  if constexpr (Bits == 5) return lower;
  const __m256i upper = _mm256_blendv_epi8(_mm256_shuffle_epi8(broadcast128(plane + 32), index),
                                           _mm256_shuffle_epi8(broadcast128(plane + 48), index), bit4);
  return _mm256_blendv_epi8(lower, upper, _mm256_slli_epi16(index, 2));
}

// Shuffles give zero where the top bit is set, and packed indices never set it; bytes from a code may hold anything.
template <int Stream, int Bits>
LACONIC_INLINE __m256i cleared(__m256i index) {
  if constexpr (Stream == 8) index = _mm256_and_si256(index, _mm256_set1_epi8((1 << Bits) - 1));
  return index;
}

// Dwords of a pair of columns. Upper: the low halves are known to be zero.
template <int Stream, int Bits, bool Upper>
LACONIC_INLINE void pair_dwords(const Lookup& lookup, __m256i index, __m256i (&v)[4]) {
  if constexpr (Bits == 8) {
    alignas(32) uint8_t at[32];
    _mm256_store_si256(reinterpret_cast<__m256i*>(at), index);
    const auto dword = [&](int i) { return static_cast<int>(lookup.dwords[at[i]]); };
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const int first = 4 * q, second = 16 + 4 * q;
      v[q] = _mm256_setr_epi32(dword(first), dword(first + 1), dword(first + 2), dword(first + 3), dword(second),
                               dword(second + 1), dword(second + 2), dword(second + 3));
    }
  } else {
    index = cleared<Stream, Bits>(index);
    const __m256i b2 = look_up<Bits>(lookup.planes[2], index), b3 = look_up<Bits>(lookup.planes[3], index);
    const __m256i high0 = _mm256_unpacklo_epi8(b2, b3), high1 = _mm256_unpackhi_epi8(b2, b3);
    __m256i low0 = _mm256_setzero_si256(), low1 = low0;
    if constexpr (!Upper) {
      const __m256i b0 = look_up<Bits>(lookup.planes[0], index), b1 = look_up<Bits>(lookup.planes[1], index);
      low0 = _mm256_unpacklo_epi8(b0, b1);
      low1 = _mm256_unpackhi_epi8(b0, b1);
    }
    v[0] = _mm256_unpacklo_epi16(low0, high0);
    v[1] = _mm256_unpackhi_epi16(low0, high0);
    v[2] = _mm256_unpacklo_epi16(low1, high1);
    v[3] = _mm256_unpackhi_epi16(low1, high1);
  }
}

// Calls sink(j, pair, dwords) for both pairs of columns of each chunk.
template <int Stream, int Bits, bool Upper, class Sink>
LACONIC_INLINE void for_pairs(const Lookup& lookup, const uint8_t* at, int64_t chunks, Sink&& sink) {
  for (int64_t j = 0; j < chunks; ++j, at += 8 * Stream) {
    __m256i index[2];
    chunk_indices<Stream>(at, index);
    prefetch_beside(index[0], at + 1536);
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair) {
      __m256i v[4];
      pair_dwords<Stream, Bits, Upper>(lookup, index[pair], v);
      sink(j, pair, v);
    }
  }
}

template <int Stream, int Bits, bool Upper, int Batch>
void multiply(const Lookup& lookup, const uint8_t* at, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  __m256 acc[Batch][4];
  for (int i = 0; i < 4 * Batch; ++i) acc[i / 4][i % 4] = _mm256_setzero_ps();
  for_pairs<Stream, Bits, Upper>(lookup, at, chunks, [&](int64_t j, int pair, const __m256i(&v)[4]) {
    const float* columns = x + j * 4 + pair * 2;
#pragma GCC unroll 4
    for (int b = 0; b < Batch; ++b) {
      const __m256 value = _mm256_blend_ps(_mm256_broadcast_ss(columns + b * x_stride),
                                           _mm256_broadcast_ss(columns + b * x_stride + 1), 0xF0);
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) acc[b][q] = _mm256_fmadd_ps(_mm256_castsi256_ps(v[q]), value, acc[b][q]);
    }
  });
  for (int b = 0; b < Batch; ++b)
    for (int q = 0; q < 4; ++q) {
      const __m128 both = _mm_add_ps(_mm256_castps256_ps128(acc[b][q]), _mm256_extractf128_ps(acc[b][q], 1));
      float* sum = sums + b * 16 + q * 4;
      _mm_storeu_ps(sum, _mm_add_ps(_mm_loadu_ps(sum), both));
    }
}

template <int Batch>
void product(const Parameters&, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  const Lookup& floats = cursor.palette->floats;
  for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
    constexpr int kStream = decltype(stream)::value, kBits = decltype(bits)::value;
    if constexpr (Batch == 1 && kBits < 8)
      if (floats.upper_only)
        return multiply<kStream, kBits, true, 1>(floats, at, count, x + first * 4, x_stride, sums);
    multiply<kStream, kBits, false, Batch>(floats, at, count, x + first * 4, x_stride, sums);
  });
}

void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  const Lookup& floats = cursor.palette->floats;
  for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
    for_pairs<decltype(stream)::value, decltype(bits)::value, false>(
        floats, at, count, [&](int64_t j, int pair, const __m256i(&v)[4]) {
          float* to = out + (first + j) * 64 + pair * 32;
          store256(to, _mm256_permute2x128_si256(v[0], v[1], 0x20));
          store256(to + 8, _mm256_permute2x128_si256(v[2], v[3], 0x20));
          store256(to + 16, _mm256_permute2x128_si256(v[0], v[1], 0x31));
          store256(to + 24, _mm256_permute2x128_si256(v[2], v[3], 0x31));
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
      for_pairs<decltype(stream)::value, decltype(bits)::value, false>(
          words, at, count, [&](int64_t j, int pair, const __m256i(&v)[4]) {
            uint8_t* to = static_cast<uint8_t*>(out) + (first + j) * 128 + pair * 64;
            // Rows 0-7 of both columns, then 8-15: a lane is a column.
            const __m256i low = _mm256_packus_epi32(v[0], v[1]), high = _mm256_packus_epi32(v[2], v[3]);
            const __m256i column0 = _mm256_permute2x128_si256(low, high, 0x20);
            const __m256i column1 = _mm256_permute2x128_si256(low, high, 0x31);
            if constexpr (D == DType::kFloat16) {
              store256(to, column0);
              store256(to + 32, column1);
            } else {
              const __m256i rows0 = _mm256_unpacklo_epi16(column0, column1);  // rows 0-3 | 8-11
              const __m256i rows4 = _mm256_unpackhi_epi16(column0, column1);
              store256(to, _mm256_permute2x128_si256(rows0, rows4, 0x20));
              store256(to + 32, _mm256_permute2x128_si256(rows0, rows4, 0x31));
            }
          });
    });
  }
}

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

void fill_avx2_palette(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace laconic
