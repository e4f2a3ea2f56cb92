// Floats rounded to words of 16 bits, to nearest even. Included by kernel files only; everything is internal to them.
#pragma once

#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"

namespace tersely {
namespace {

// The upper halves of floats, rounded to nearest even: bfloat16, zeros below.
TERSELY_INLINE __m256i rounded(__m256 floats) {
  const __m256i bits = _mm256_castps_si256(floats);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
  return _mm256_and_si256(up, _mm256_set1_epi32(static_cast<int>(0xFFFF0000)));
}

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// What a word of the dtype reads as.
template <DType D>
TERSELY_INLINE __m256 as_read(__m256 weight) {
  if constexpr (D == DType::kBfloat16) return _mm256_castsi256_ps(rounded(weight));
  if constexpr (D == DType::kFloat16) return _mm256_cvtph_ps(_mm256_cvtps_ph(weight, kNearest));
  return weight;
}

// The same of float32 that are neither subnormal nor within 2^17 of overflow, with less to do: Veltkamp's splitting, as
// in row_fields.hpp.
template <DType D>
TERSELY_INLINE __m256 as_read_finite(__m256 weights) {
  if constexpr (D != DType::kBfloat16) return as_read<D>(weights);
  const __m256 wide = _mm256_mul_ps(weights, _mm256_set1_ps(0x1p16F + 1));
  return _mm256_sub_ps(wide, _mm256_sub_ps(wide, weights));
}

}  // namespace
}  // namespace tersely
