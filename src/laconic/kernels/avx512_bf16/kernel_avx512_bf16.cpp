// vdpbf16ps over decoded column pairs: twice the products of an FMA. Subnormal inputs and results count as zero.
#include <immintrin.h>

#include "laconic/kernels/table.hpp"

namespace laconic {
namespace {

template <int Panels, int Block>
void multiply_block(const uint16_t* w, int64_t panel_stride, const uint32_t* x, int64_t pairs, float* y,
                    int64_t y_panel_stride) {
  __m512 acc[Panels][Block];
#pragma GCC unroll 2
  for (int p = 0; p < Panels; ++p)
#pragma GCC unroll 12
    for (int b = 0; b < Block; ++b) acc[p][b] = _mm512_loadu_ps(y + p * y_panel_stride + b * 16);
  for (int64_t pair = 0; pair < pairs; ++pair) {
    __m512bh weights[Panels];
#pragma GCC unroll 2
    for (int p = 0; p < Panels; ++p)
      weights[p] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(w + p * panel_stride + pair * 32));
#pragma GCC unroll 12
    for (int b = 0; b < Block; ++b) {
      const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(x[pair * Block + b])));
#pragma GCC unroll 2
      for (int p = 0; p < Panels; ++p) acc[p][b] = _mm512_dpbf16_ps(acc[p][b], weights[p], value);
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < Panels; ++p)
#pragma GCC unroll 12
    for (int b = 0; b < Block; ++b) _mm512_storeu_ps(y + p * y_panel_stride + b * 16, acc[p][b]);
}

void multiply_pairs(const uint16_t* w, int64_t panel_stride, int panels, const uint32_t* x, int64_t pairs,
                    int batch_block, float* y, int64_t y_panel_stride) {
  switch (panels * 100 + batch_block) {
    case 104:
      return multiply_block<1, 4>(w, panel_stride, x, pairs, y, y_panel_stride);
    case 108:
      return multiply_block<1, 8>(w, panel_stride, x, pairs, y, y_panel_stride);
    case 112:
      return multiply_block<1, 12>(w, panel_stride, x, pairs, y, y_panel_stride);
    case 204:
      return multiply_block<2, 4>(w, panel_stride, x, pairs, y, y_panel_stride);
    case 208:
      return multiply_block<2, 8>(w, panel_stride, x, pairs, y, y_panel_stride);
    default:
      return multiply_block<2, 12>(w, panel_stride, x, pairs, y, y_panel_stride);
  }
}

}  // namespace

void fill_avx512_bf16(KernelTable& table) {
  table.isa = "avx512_bf16";
  table.multiply_pairs = multiply_pairs;
}

}  // namespace laconic
