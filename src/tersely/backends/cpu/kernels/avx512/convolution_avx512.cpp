// Convolution under AVX-512: one or two panels (a register of outputs each) by up to twelve pixels, each with a pointer
// of its own: 24 sums and two of weights; values of x are operands of the FMA.
#include <immintrin.h>

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int kPixels = 12;

// x: bytes of each pixel; at: bytes from there.
template <int Panels, int Pixels>
inline __attribute__((always_inline)) void step(const char* const (&x)[Pixels], int64_t at, const float* w,
                                                int64_t stride, __m512 (&sums)[Pixels][Panels]) {
  __m512 weights[Panels];
#pragma GCC unroll 2
  for (int k = 0; k < Panels; ++k) weights[k] = _mm512_loadu_ps(w + k * stride);
#pragma GCC unroll 12
  for (int p = 0; p < Pixels; ++p) {
    const __m512 value = _mm512_set1_ps(*reinterpret_cast<const float*>(x[p] + at));
#pragma GCC unroll 2
    for (int k = 0; k < Panels; ++k) sums[p][k] = _mm512_fmadd_ps(weights[k], value, sums[p][k]);
  }
}

template <int Panels, int Pixels>
inline __attribute__((always_inline)) void finish(const ConvolutionBlock& block, const PixelPlaces& places,
                                                  int64_t pixel, __m512 (&sums)[Pixels][Panels]) {
  const ConvolutionBlock b = block;  // stores to y may not make the compiler read it again
  const int32_t *const y_at = places.y + pixel, *const residual_at = places.residual + pixel;
  const __m512 least = _mm512_set1_ps(b.low), greatest = _mm512_set1_ps(b.high);
#pragma GCC unroll 2
  for (int k = 0; k < Panels; ++k) {
    float* const y = b.y + k * b.y_panel_stride;
    const float* const residual = b.residual == nullptr ? nullptr : b.residual + k * b.residual_panel_stride;
    const __m512 scale = b.scale == nullptr ? _mm512_set1_ps(1.0F) : _mm512_loadu_ps(b.scale + k * 16);
    const __m512 shift = b.shift == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(b.shift + k * 16);
#pragma GCC unroll 12
    for (int p = 0; p < Pixels; ++p) {
      __m512 value = _mm512_fmadd_ps(sums[p][k], scale, shift);
      if (residual != nullptr) value = _mm512_add_ps(value, _mm512_loadu_ps(residual + residual_at[p]));
      // The second operand where one is NaN.
      _mm512_storeu_ps(y + y_at[p], _mm512_min_ps(greatest, _mm512_max_ps(least, value)));
    }
  }
}

template <int Panels, int Pixels>
void tile(const ConvolutionBlock& b, const PixelPlaces& places, int64_t pixel) {
  const char* x[Pixels];
  const int32_t* const y_at = places.y + pixel;
  __m512 sums[Pixels][Panels];
#pragma GCC unroll 12
  for (int p = 0; p < Pixels; ++p) {
    x[p] = reinterpret_cast<const char*>(b.x + places.x[pixel + p]);
#pragma GCC unroll 2
    for (int k = 0; k < Panels; ++k)
      sums[p][k] = b.first ? _mm512_setzero_ps() : _mm512_loadu_ps(b.y + k * b.y_panel_stride + y_at[p]);
  }
  const float* w = b.weights;
  const int64_t stride = b.panel_stride, run_bytes = b.run * 4;
  const int32_t* offset = b.offsets;
  const int32_t* const end = offset + b.runs;
  for (; offset != end; ++offset) {
    if (end - offset > kAheadRuns) {
#pragma GCC unroll 12
      for (int p = 0; p < Pixels; ++p) __builtin_prefetch(x[p] + int64_t{offset[kAheadRuns]} * 4);
    }
    int64_t at = int64_t{*offset} * 4;
    const int64_t stop = at + run_bytes, fours = at + run_bytes / 16 * 16;
    for (; at != fours; at += 16, w += 64) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) step<Panels, Pixels>(x, at + k * 4, w + k * 16, stride, sums);
    }
#pragma GCC unroll 1
    for (; at != stop; at += 4, w += 16) step<Panels, Pixels>(x, at, w, stride, sums);
  }
  if (b.last) return finish<Panels, Pixels>(b, places, pixel, sums);
#pragma GCC unroll 2
  for (int k = 0; k < Panels; ++k)
#pragma GCC unroll 12
    for (int p = 0; p < Pixels; ++p) _mm512_storeu_ps(b.y + k * b.y_panel_stride + y_at[p], sums[p][k]);
}

using Tile = void (*)(const ConvolutionBlock&, const PixelPlaces&, int64_t);
template <int Panels>
constexpr Tile kTiles[kPixels] = {tile<Panels, 1>, tile<Panels, 2>,  tile<Panels, 3>,  tile<Panels, 4>,
                                  tile<Panels, 5>, tile<Panels, 6>,  tile<Panels, 7>,  tile<Panels, 8>,
                                  tile<Panels, 9>, tile<Panels, 10>, tile<Panels, 11>, tile<Panels, 12>};

void convolve(const ConvolutionBlock& block, const PixelPlaces& places, int64_t pixels) {
  int64_t tiles = (pixels + kPixels - 1) / kPixels;
  for (int64_t pixel = 0; tiles != 0; --tiles) {
    const int64_t count = (pixels - pixel + tiles - 1) / tiles;
    (block.panels == 2 ? kTiles<2> : kTiles<1>)[count - 1](block, places, pixel);
    pixel += count;
  }
}

}  // namespace

void fill_avx512_convolution(KernelTable& table) { table.convolve = convolve; }

}  // namespace tersely
