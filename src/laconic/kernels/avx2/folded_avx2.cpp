// Folded distances of 8-bit weights under AVX2.
//
// a chunk of four columns, 16 rows each: unfold two columns at a time; interleave columns 0 and 2, 1 and 3; widen to 16
// bits, so that vpmaddwd adds up pairs of columns of eight rows.
#include "laconic/kernels/avx2/chunks.hpp"
#include "laconic/kernels/table.hpp"
#include "laconic/kernels/unfold.hpp"

namespace laconic {
namespace {

LACONIC_INLINE __m256i unfold_vector(__m256i folded, __m256i centre) {
  const __m256i negative = _mm256_cmpgt_epi8(_mm256_setzero_si256(), folded);
  return _mm256_add_epi8(_mm256_xor_si256(folded, _mm256_and_si256(negative, _mm256_set1_epi8(0x7F))), centre);
}

// Columns (0, 2) and (1, 3) of x, each pair eight times.
LACONIC_INLINE void column_pairs(const int16_t* x, __m256i (&pairs)[2]) {
  const __m256i four = _mm256_set1_epi64x(static_cast<long long>(load64(reinterpret_cast<const uint8_t*>(x))));
  pairs[0] = _mm256_shuffle_epi8(four, _mm256_set1_epi32(0x05040100));
  pairs[1] = _mm256_shuffle_epi8(four, _mm256_set1_epi32(0x07060302));
}

template <int Slices, int Rows>
void multiply(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int16_t>& x, int32_t* sums) {
  const __m256i add = _mm256_set1_epi8(static_cast<char>(centre));
  __m256i acc[Rows * Slices][2];
#pragma GCC unroll 8
  for (int i = 0; i < Rows * Slices * 2; ++i) acc[i / 2][i % 2] = load256(sums + i * 8);
  for (int64_t j = 0; j < chunks; ++j, folded += 64) {
    const __m256i first = unfold_vector(load256(folded), add), second = unfold_vector(load256(folded + 32), add);
    // Of rows 0 to 7 and 8 to 15: columns 0 and 2 in the lower half, 1 and 3 in the upper one.
    const __m256i halves[2] = {_mm256_unpacklo_epi8(first, second), _mm256_unpackhi_epi8(first, second)};
    __m256i pairs[Rows * Slices][2];
#pragma GCC unroll 4
    for (int i = 0; i < Rows * Slices; ++i)
      column_pairs(x.x + i / Slices * x.row_stride + i % Slices * x.stride + j * 4, pairs[i]);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m256i even = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(halves[half]));
      const __m256i odd = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(halves[half], 1));
#pragma GCC unroll 4
      for (int i = 0; i < Rows * Slices; ++i) {
        const __m256i two = _mm256_add_epi32(_mm256_madd_epi16(even, pairs[i][0]), _mm256_madd_epi16(odd, pairs[i][1]));
        acc[i][half] = _mm256_add_epi32(acc[i][half], two);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows * Slices * 2; ++i) store256(sums + i * 8, acc[i / 2][i % 2]);
}

template <int Slices>
void multiply_rows(const uint8_t* folded, int64_t chunks, uint8_t centre, SlicedRows<int16_t> x, int32_t* sums) {
  for (; x.rows >= 2; x.rows -= 2, x.x += 2 * x.row_stride, sums += 2 * Slices * 16)
    multiply<Slices, 2>(folded, chunks, centre, x, sums);
  if (x.rows == 1) multiply<Slices, 1>(folded, chunks, centre, x, sums);
}

void multiply_folded(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int16_t>& x,
                     int32_t* sums) {
  if (x.slices == 1) return multiply_rows<1>(folded, chunks, centre, x, sums);
  multiply_rows<2>(folded, chunks, centre, x, sums);
}

}  // namespace

void fill_avx2_folded(KernelTable& table) {
  table.unfold = kUnfold;
  table.multiply_folded_words = multiply_folded;
}

}  // namespace laconic
