// vdpbf16ps over column pairs: twice the products of an FMA. Subnormal inputs and results count as zero. A few batch
// rows are multiplied as the chunk is decoded, in registers; more by blocks over decoded weights.
#include <immintrin.h>

#include "tersely/backends/cpu/kernels/avx512/tiles.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_avx512_bf16_pairs(KernelTable& table);

namespace {

TERSELY_INLINE __m512bh as_pairs(__m512i v) { return __builtin_bit_cast(__m512bh, v); }
TERSELY_INLINE __m512bh broadcast_pair(uint32_t pair) { return as_pairs(_mm512_set1_epi32(static_cast<int>(pair))); }

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
    for (int p = 0; p < Panels; ++p) weights[p] = as_pairs(load512(w + p * panel_stride + pair * 32));
#pragma GCC unroll 12
    for (int b = 0; b < Block; ++b) {
      const __m512bh value = broadcast_pair(x[pair * Block + b]);
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

template <int Code, int Batch>
void product_pairs(const Parameters& p, Cursor& cursor, int64_t chunks, const uint32_t* x, float* sums) {
  constexpr DType D = DType::kBfloat16;
  // With 16 rows one sum each is enough to hide the latency; with fewer, the two column pairs of a chunk have their
  // own.
  constexpr int kSums = Batch == 16 ? 1 : 2;
  __m512 acc[kSums][Batch];
#pragma GCC unroll 16
  for (int b = 0; b < Batch; ++b) {
    acc[0][b] = _mm512_loadu_ps(sums + b * 16);
    if constexpr (kSums == 2) acc[1][b] = _mm512_setzero_ps();
  }
  for_chunks<D, Code, Tail::kNone>(p, cursor, chunks, [&](int64_t j, const __m512i(&v)[2]) TERSELY_SINK {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 16
      for (int b = 0; b < Batch; ++b) {
        const __m512bh value = broadcast_pair(x[(j * 2 + i) * Batch + b]);
        acc[i % kSums][b] = _mm512_dpbf16_ps(acc[i % kSums][b], as_pairs(v[i]), value);
      }
    }
  });
#pragma GCC unroll 16
  for (int b = 0; b < Batch; ++b) {
    if constexpr (kSums == 2) acc[0][b] = _mm512_add_ps(acc[0][b], acc[1][b]);
    _mm512_storeu_ps(sums + b * 16, acc[0][b]);
  }
}

template <int Code>
void fill_code(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(DType::kBfloat16)][Code][static_cast<int>(Tail::kNone)];
  kernels.product_pairs[0] = product_pairs<Code, 4>;
  kernels.product_pairs[1] = product_pairs<Code, 8>;
  kernels.product_pairs[2] = product_pairs<Code, 16>;
}

}  // namespace

void fill_avx512_bf16(KernelTable& table) {
  table.isa = "avx512_bf16";
  fill_code<1>(table);
  fill_code<2>(table);
  fill_code<3>(table);
  fill_code<4>(table);
  fill_code<5>(table);
  table.multiply_pairs = multiply_pairs;
  fill_avx512_bf16_pairs(table);
}

}  // namespace tersely
