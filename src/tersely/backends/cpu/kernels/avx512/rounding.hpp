// Floats rounded to words of 16 bits, to nearest even. Included by kernel files only; everything is internal to them.
#pragma once

#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"

namespace tersely {
namespace {

// The upper halves of floats, rounded to nearest even: bfloat16, and what was below.
TERSELY_INLINE __m512i rounded(__m512 floats) {
  const __m512i bits = _mm512_castps_si512(floats);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
}
TERSELY_INLINE __m512i upper_halves() { return _mm512_set1_epi32(static_cast<int>(0xFFFF0000)); }

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// What a word of the dtype reads as.
template <DType D>
TERSELY_INLINE __m512 as_read(__m512 weights) {
  if constexpr (D == DType::kBfloat16) return _mm512_castsi512_ps(_mm512_and_si512(rounded(weights), upper_halves()));
  if constexpr (D == DType::kFloat16) return _mm512_cvtph_ps(_mm512_cvtps_ph(weights, kNearest));
  return weights;
}

// The same of float32 that are neither subnormal nor within 2^17 of overflow, with less to do: Veltkamp's splitting, as
// in row_fields.hpp.
template <DType D>
TERSELY_INLINE __m512 as_read_finite(__m512 weights) {
  if constexpr (D != DType::kBfloat16) return as_read<D>(weights);
  const __m512 wide = _mm512_mul_ps(weights, _mm512_set1_ps(0x1p16F + 1));
  return _mm512_sub_ps(wide, _mm512_sub_ps(wide, weights));
}

}  // namespace
}  // namespace tersely
