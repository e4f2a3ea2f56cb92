// What numbers of up to 4 bits stand for in row fields, under AVX2. Included by kernel files only, which are compiled
// without contraction of products and sums; everything is internal to them.
#pragma once

#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"

#define TERSELY_ROW_FIELDS_SINK __attribute__((always_inline))
#include "tersely/backends/cpu/kernels/row_fields.hpp"

namespace tersely {
namespace {

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// A float as a word of the dtype reads.
template <DType D>
TERSELY_INLINE __m256 as_read(__m256 weights) {
  if constexpr (D == DType::kFloat16) return _mm256_cvtph_ps(_mm256_cvtps_ph(weights, kNearest));
  if constexpr (D != DType::kBfloat16) return weights;
  const __m256 wide = _mm256_mul_ps(weights, _mm256_set1_ps(kSplitter));
  return _mm256_sub_ps(wide, _mm256_sub_ps(wide, weights));
}

// The words that numbers from `first` on stand for, up to 4 bits of them: again from 0 on behind the last.
template <int Bits, DType D>
TERSELY_INLINE __m256 words_of(const RowFieldsPart& part, int64_t at, int first) {
  if (part.tables != nullptr) return _mm256_loadu_ps(part.tables + at * 16 + first);
  const __m256i positions = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
  const __m256 numbers = _mm256_cvtepi32_ps(_mm256_and_si256(positions, _mm256_set1_epi32((1 << Bits) - 1)));
  const __m256 from_zero = _mm256_sub_ps(numbers, _mm256_broadcast_ss(part.zeros + at));
  return as_read<D>(_mm256_mul_ps(from_zero, _mm256_broadcast_ss(part.scales + at)));
}

TERSELY_INLINE float sum_of(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace
}  // namespace tersely
