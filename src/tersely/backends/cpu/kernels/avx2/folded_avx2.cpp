// Folded distances of 8-bit weights under AVX2, and weights as they are.
//
// a chunk of four columns, 16 rows each: unfold columns 0 and 2, 1 and 3; interleave them to pairs of columns; widen to
// 16 bits, so that vpmaddwd multiplies a pair by two neighbours of x, which a load broadcasts.
// The real loops depart: some chunks are widened first, for all rows of x.
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/unfold.hpp"

namespace tersely {
namespace {

// Columns `column` and `column` + 2 of a chunk. from: the centre and 0x7F, of which a negative word is taken.
template <bool Folded>
TERSELY_INLINE __m256i two_columns(const uint8_t* chunk, int column, __m256i centre, __m256i from) {
  const auto* at = reinterpret_cast<const __m128i*>(chunk + column * 16);
  const __m256i folded =
      _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(at)), _mm_loadu_si128(at + 2), 1);
  if constexpr (!Folded) return _mm256_add_epi8(folded, centre);
  return _mm256_blendv_epi8(_mm256_add_epi8(folded, centre), _mm256_sub_epi8(from, folded), folded);
}

TERSELY_INLINE __m256i two_of_x(const int16_t* x) {
  int two;
  __builtin_memcpy(&two, x, 4);
  return _mm256_set1_epi32(two);
}

// [columns 0 and 1, 2 and 3][rows 0 to 7, 8 to 15] of a chunk, pairs of 16-bit numbers.
template <bool Folded>
TERSELY_INLINE void widen_chunk(const uint8_t* folded, __m256i centre, __m256i from, __m256i* out) {
  const __m256i even = two_columns<Folded>(folded, 0, centre, from), odd = two_columns<Folded>(folded, 1, centre, from);
  const __m256i halves[2] = {_mm256_unpacklo_epi8(even, odd), _mm256_unpackhi_epi8(even, odd)};
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    store256(out + half, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(halves[half])));
    store256(out + 2 + half, _mm256_cvtepu8_epi16(_mm256_extracti128_si256(halves[half], 1)));
  }
}

// listed: the columns of x at which chunks begin, if Listed.
template <bool Listed, int Slices, int Rows>
void multiply(const __m256i* pairs, int64_t chunks, const int16_t* x, const uint32_t* listed,
              const SlicedRows<int16_t>& rows, int32_t* sums) {
  const int16_t* columns[Rows * Slices];
#pragma GCC unroll 4
  for (int i = 0; i < Rows * Slices; ++i) columns[i] = x + i / Slices * rows.row_stride + i % Slices * rows.stride;
  __m256i acc[Rows * Slices][2];
#pragma GCC unroll 8
  for (int i = 0; i < Rows * Slices * 2; ++i) acc[i / 2][i % 2] = load256(sums + i * 8);
  for (int64_t j = 0; j < chunks; ++j, pairs += 4) {
    const int64_t column = Listed ? int64_t{listed[j]} : j * 4;
#pragma GCC unroll 4
    for (int i = 0; i < Rows * Slices; ++i) {
      const __m256i first = two_of_x(columns[i] + column), second = two_of_x(columns[i] + column + 2);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        acc[i][half] = _mm256_add_epi32(acc[i][half], _mm256_madd_epi16(load256(pairs + half), first));
        acc[i][half] = _mm256_add_epi32(acc[i][half], _mm256_madd_epi16(load256(pairs + 2 + half), second));
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows * Slices * 2; ++i) store256(sums + i * 8, acc[i / 2][i % 2]);
}

template <bool Folded, bool Listed, int Slices>
void multiply_rows(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int16_t>& x, int32_t* sums) {
  constexpr int64_t kBlock = 32;  // chunks that are widened for all rows of x: 4 KiB
  __m256i pairs[kBlock * 4];
  const __m256i add = _mm256_set1_epi8(static_cast<char>(centre));
  const __m256i from = _mm256_set1_epi8(static_cast<char>(centre + 0x7F));
  for (int64_t done = 0; done < chunks; done += kBlock) {
    const int64_t count = chunks - done < kBlock ? chunks - done : kBlock;
    for (int64_t j = 0; j < count; ++j) widen_chunk<Folded>(folded + (done + j) * 64, add, from, pairs + j * 4);
    const int16_t* columns = Listed ? x.x : x.x + done * 4;
    const uint32_t* listed = Listed ? x.columns + done : nullptr;
    int b = 0;
    for (; b + 2 <= x.rows; b += 2)
      multiply<Listed, Slices, 2>(pairs, count, columns + b * x.row_stride, listed, x, sums + b * Slices * 16);
    if (b < x.rows)
      multiply<Listed, Slices, 1>(pairs, count, columns + b * x.row_stride, listed, x, sums + b * Slices * 16);
  }
}

template <bool Folded>
void multiply_words(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int16_t>& x,
                    int32_t* sums) {
  if constexpr (!Folded) {
    if (x.columns != nullptr) {
      if (x.slices == 1) return multiply_rows<false, true, 1>(folded, chunks, centre, x, sums);
      return multiply_rows<false, true, 2>(folded, chunks, centre, x, sums);
    }
  }
  if (x.slices == 1) return multiply_rows<Folded, false, 1>(folded, chunks, centre, x, sums);
  multiply_rows<Folded, false, 2>(folded, chunks, centre, x, sums);
}

}  // namespace

void fill_avx2_folded(KernelTable& table) {
  table.unfold = kUnfold;
  table.multiply_folded_words = multiply_words<true>;
  table.multiply_shifted_words = multiply_words<false>;
}

}  // namespace tersely
