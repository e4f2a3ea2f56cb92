// Palette chunks under AVX2: a byte shuffle is 32 lookups of one byte of the words, and unpacking joins the bytes.
//
// for each pair of columns (32 indices): look up each byte plane; join bytes, then halves
// That leaves vectors of four rows of both columns: rows 4 q .. 4 q + 3 of the first | of the second. A product needs
// no other order: x goes in as x[first] x 4 | x[second] x 4, and the two halves of the sums are added at the end.
// Tables of 32 and 64 words take two and four shuffles and choose by the index's upper bits; larger ones are gathered.
// Four words fit a lane, whose own permute looks them up; two are chosen by the sign that a shift brings there.
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/index_blocks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

TERSELY_INLINE __m256i broadcast128(const void* at) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(at)));
}

// Indices of one chunk: columns 0 and 1, then 2 and 3.
template <int Stream>
TERSELY_INLINE void chunk_indices(const uint8_t* at, __m256i (&index)[2]) {
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
    index[1] =
        _mm256_or_si256(index[1], _mm256_slli_epi16(_mm256_and_si256(_mm256_srli_epi16(spread, 4), three), kShift2));
  }
  if constexpr ((Stream & 1) != 0) {
    const uint64_t plane = load64(at + (Stream & 6) * 8);
    const __m256i value = _mm256_set1_epi8(1 << kShift1);
    for (int p = 0; p < 2; ++p)
      index[p] = _mm256_or_si256(
          index[p], _mm256_and_si256(half_to_bytes(_mm256_set1_epi64x(static_cast<long long>(plane)), p), value));
  }
}

// One byte plane of 32 words. Bits 4: 16 words, and so on.
template <int Bits>
TERSELY_INLINE __m256i look_up(const uint8_t* plane, __m256i index) {
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
TERSELY_INLINE __m256i cleared(__m256i index) {
  if constexpr (Stream == 8) index = _mm256_and_si256(index, _mm256_set1_epi8((1 << Bits) - 1));
  return index;
}

// Words of the two low, or the two high, bytes of a pair of columns: a lane is a column, rows 0-7, then 8-15.
struct Halves {
  __m256i rows0, rows8;
};
template <int Bits>
TERSELY_INLINE Halves half_words(const uint8_t (&low)[256], const uint8_t (&high)[256], __m256i index) {
  const __m256i l = look_up<Bits>(low, index), h = look_up<Bits>(high, index);
  return {_mm256_unpacklo_epi8(l, h), _mm256_unpackhi_epi8(l, h)};
}

// Dwords of a pair of columns.
template <int Stream, int Bits>
TERSELY_INLINE void pair_dwords(const Lookup& lookup, __m256i index, __m256i (&v)[4]) {
  if constexpr (Bits == 8) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i low = _mm256_unpacklo_epi8(index, zero), high = _mm256_unpackhi_epi8(index, zero);
    const __m256i at[4] = {_mm256_unpacklo_epi16(low, zero), _mm256_unpackhi_epi16(low, zero),
                           _mm256_unpacklo_epi16(high, zero), _mm256_unpackhi_epi16(high, zero)};
    const auto* dwords = reinterpret_cast<const int*>(lookup.dwords);
    for (int q = 0; q < 4; ++q) v[q] = _mm256_i32gather_epi32(dwords, at[q], 4);
  } else {
    index = cleared<Stream, Bits>(index);
    const Halves low = half_words<Bits>(lookup.planes[0], lookup.planes[1], index);
    const Halves high = half_words<Bits>(lookup.planes[2], lookup.planes[3], index);
    v[0] = _mm256_unpacklo_epi16(low.rows0, high.rows0);
    v[1] = _mm256_unpackhi_epi16(low.rows0, high.rows0);
    v[2] = _mm256_unpacklo_epi16(low.rows8, high.rows8);
    v[3] = _mm256_unpackhi_epi16(low.rows8, high.rows8);
  }
}

// The same with even and odd rows apart: v[0] = rows 0, 2, 4, 6, v[1] = rows 1, 3, 5, 7, v[2] and v[3] from row 8 on.
// Fewer shuffles, which are what limits these kernels: odd rows take a multiplication and a blend. Upper: the low
// halves are known to be zero.
template <int Stream, int Bits, bool Upper>
TERSELY_INLINE void even_odd_dwords(const Lookup& lookup, __m256i index, __m256i (&v)[4]) {
  index = cleared<Stream, Bits>(index);
  const Halves high = half_words<Bits>(lookup.planes[2], lookup.planes[3], index);
  if constexpr (Upper) {
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xFFFF0000));
    v[0] = _mm256_slli_epi32(high.rows0, 16);
    v[1] = _mm256_and_si256(high.rows0, upper);
    v[2] = _mm256_slli_epi32(high.rows8, 16);
    v[3] = _mm256_and_si256(high.rows8, upper);
  } else {
    const Halves low = half_words<Bits>(lookup.planes[0], lookup.planes[1], index);
    const __m256i odd = _mm256_set1_epi32(0x10000);  // 0 x the even word + 1 x the odd one
    v[0] = _mm256_blend_epi16(low.rows0, _mm256_slli_epi32(high.rows0, 16), 0xAA);
    v[1] = _mm256_blend_epi16(_mm256_madd_epi16(low.rows0, odd), high.rows0, 0xAA);
    v[2] = _mm256_blend_epi16(low.rows8, _mm256_slli_epi32(high.rows8, 16), 0xAA);
    v[3] = _mm256_blend_epi16(_mm256_madd_epi16(low.rows8, odd), high.rows8, 0xAA);
  }
}

// The same for packed indices of one and two bits, straight from the chunk.
template <int Stream>
TERSELY_INLINE void small_dwords(const Lookup& lookup, const uint8_t* at, int pair, __m256i (&v)[4]) {
  if constexpr (Stream == 1) {
    const __m256 zeros = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(lookup.dwords[0])));
    const __m256 ones = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(lookup.dwords[1])));
    const __m256i bits = _mm256_set1_epi32(static_cast<int>(load64(at) >> (32 * pair)));
    for (int q = 0; q < 4; ++q) {
      const int top = 31 - 4 * q;  // from the bit of row 4 q of the first column to the sign
      const __m256i shift = _mm256_setr_epi32(top, top - 1, top - 2, top - 3, top - 16, top - 17, top - 18, top - 19);
      v[q] = _mm256_castps_si256(_mm256_blendv_ps(zeros, ones, _mm256_castsi256_ps(_mm256_sllv_epi32(bits, shift))));
    }
  } else {
    const __m256 words = _mm256_castsi256_ps(broadcast128(lookup.dwords));
    const __m256i fields = broadcast128(at);
    const __m256i shift = _mm256_setr_epi64x(4 * pair * 0x100000001, 4 * pair * 0x100000001,
                                             (4 * pair + 2) * 0x100000001, (4 * pair + 2) * 0x100000001);
    for (int q = 0; q < 4; ++q) {
      const __m256i rows = _mm256_setr_epi32(4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3, 4 * q, 4 * q + 1, 4 * q + 2,
                                             4 * q + 3);  // its other bytes only bring bits above the field
      const __m256i spread = _mm256_srlv_epi32(_mm256_shuffle_epi8(fields, rows), shift);
      v[q] = _mm256_castps_si256(_mm256_permutevar_ps(words, spread));
    }
  }
}

enum class Rows { kInOrder, kEvenOdd, kEvenOddUpper };
// Which of them is the fastest for a product.
constexpr Rows rows_for(int stream, int bits, bool upper) {
  if (stream <= 2 || bits == 8) return Rows::kInOrder;
  return upper ? Rows::kEvenOddUpper : Rows::kEvenOdd;
}

// Calls sink(j, pair, dwords) for both pairs of columns of each chunk.
template <int Stream, int Bits, Rows R, class Sink>
TERSELY_INLINE void for_pairs(const Lookup& lookup, const uint8_t* at, int64_t chunks, Sink&& sink) {
  for (int64_t j = 0; j < chunks; ++j, at += 8 * Stream) {
    __m256i index[2];
    if constexpr (Stream > 2) {
      chunk_indices<Stream>(at, index);
      prefetch_stream(index[0], at);
    }
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair) {
      __m256i v[4];
      if constexpr (Stream <= 2) {
        small_dwords<Stream>(lookup, at, pair, v);
      } else if constexpr (R == Rows::kInOrder) {
        pair_dwords<Stream, Bits>(lookup, index[pair], v);
      } else {
        even_odd_dwords<Stream, Bits, R == Rows::kEvenOddUpper>(lookup, index[pair], v);
      }
      sink(j, pair, v);
    }
  }
}

TERSELY_INLINE __m128 both_columns(__m256 sum) {
  return _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
}
TERSELY_INLINE void add_to(float* sums, __m128 value) { _mm_storeu_ps(sums, _mm_add_ps(_mm_loadu_ps(sums), value)); }

template <int Stream, int Bits, bool Upper, int Batch>
void multiply(const Lookup& lookup, const uint8_t* at, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  constexpr Rows kRows = rows_for(Stream, Bits, Upper);
  __m256 acc[Batch * 4];
  // Unrolled, or the compiler keeps the sums in memory, storing them in every chunk.
#pragma GCC unroll 16
  for (int i = 0; i < 4 * Batch; ++i) acc[i] = _mm256_setzero_ps();
  for_pairs<Stream, Bits, kRows>(
      lookup, at, chunks, [&](int64_t j, int pair, const __m256i(&v)[4]) __attribute__((always_inline)) {
        const float* columns = x + j * 4 + pair * 2;
#pragma GCC unroll 4
        for (int b = 0; b < Batch; ++b) {
          const __m256 value = _mm256_blend_ps(_mm256_broadcast_ss(columns + b * x_stride),
                                               _mm256_broadcast_ss(columns + b * x_stride + 1), 0xF0);
#pragma GCC unroll 4
          for (int q = 0; q < 4; ++q)
            acc[b * 4 + q] = _mm256_fmadd_ps(_mm256_castsi256_ps(v[q]), value, acc[b * 4 + q]);
        }
      });
#pragma GCC unroll 8
  for (int i = 0; i < 2 * Batch; ++i) {
    const __m128 first = both_columns(acc[2 * i]), second = both_columns(acc[2 * i + 1]);
    float* to = sums + i * 8;
    add_to(to, kRows == Rows::kInOrder ? first : _mm_unpacklo_ps(first, second));
    add_to(to + 4, kRows == Rows::kInOrder ? second : _mm_unpackhi_ps(first, second));
  }
}

template <int Batch>
void product(const Parameters&, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  const Lookup& floats = cursor.palette->floats;
  for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
    constexpr int kStream = decltype(stream)::value, kBits = decltype(bits)::value;
    if constexpr (Batch == 1 && kBits < 8 && kStream > 2)
      if (floats.upper_only) return multiply<kStream, kBits, true, 1>(floats, at, count, x + first * 4, x_stride, sums);
    multiply<kStream, kBits, false, Batch>(floats, at, count, x + first * 4, x_stride, sums);
  });
}

void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  const Lookup& floats = cursor.palette->floats;
  for_index_blocks(cursor, chunks, [&](auto stream, auto bits, const uint8_t* at, int64_t first, int64_t count) {
    for_pairs<decltype(stream)::value, decltype(bits)::value, Rows::kInOrder>(
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
      for_pairs<decltype(stream)::value, decltype(bits)::value, Rows::kInOrder>(
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

}  // namespace tersely
