// Convolution under AVX2: one panel (two registers of outputs) by six pixels, each with a pointer of its own, so that
// pixels of a tile may lie in different rows of the image. Twelve sums, two of weights, one of x: all sixteen registers
// but one, and more than the eight sums that hide the latency of an FMA.
#include <immintrin.h>

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int kPixels = 6;

// x: bytes of each pixel; at: bytes from there.
template <int Pixels>
inline __attribute__((always_inline)) void step(const char* const (&x)[Pixels], int64_t at, const float* w,
                                                __m256 (&sums)[Pixels][2]) {
  const __m256 low = _mm256_loadu_ps(w), high = _mm256_loadu_ps(w + 8);
#pragma GCC unroll 6
  for (int p = 0; p < Pixels; ++p) {
    const __m256 value = _mm256_broadcast_ss(reinterpret_cast<const float*>(x[p] + at));
    sums[p][0] = _mm256_fmadd_ps(low, value, sums[p][0]);
    sums[p][1] = _mm256_fmadd_ps(high, value, sums[p][1]);
  }
}

template <int Pixels>
inline __attribute__((always_inline)) void finish(const ConvolutionBlock& block, const PixelPlaces& places,
                                                  int64_t pixel, int panel, __m256 (&sums)[Pixels][2]) {
  const ConvolutionBlock b = block;  // stores to y may not make the compiler read it again
  float* const y = b.y + panel * b.y_panel_stride;
  const float* const residual = b.residual == nullptr ? nullptr : b.residual + panel * b.residual_panel_stride;
  const int32_t *const y_at = places.y + pixel, *const residual_at = places.residual + pixel;
  const __m256 least = _mm256_set1_ps(b.low), greatest = _mm256_set1_ps(b.high);
  __m256 scale[2], shift[2];
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const int64_t output = panel * 16 + half * 8;
    scale[half] = b.scale == nullptr ? _mm256_set1_ps(1.0F) : _mm256_loadu_ps(b.scale + output);
    shift[half] = b.shift == nullptr ? _mm256_setzero_ps() : _mm256_loadu_ps(b.shift + output);
  }
#pragma GCC unroll 6
  for (int p = 0; p < Pixels; ++p) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256 value = _mm256_fmadd_ps(sums[p][half], scale[half], shift[half]);
      if (residual != nullptr) value = _mm256_add_ps(value, _mm256_loadu_ps(residual + residual_at[p] + half * 8));
      // The second operand where one is NaN.
      _mm256_storeu_ps(y + y_at[p] + half * 8, _mm256_min_ps(greatest, _mm256_max_ps(least, value)));
    }
  }
}

template <int Pixels>
void tile(const ConvolutionBlock& b, const PixelPlaces& places, int64_t pixel, int panel) {
  const char* x[Pixels];
  float* const y = b.y + panel * b.y_panel_stride;
  const int32_t* const y_at = places.y + pixel;
  __m256 sums[Pixels][2];
#pragma GCC unroll 6
  for (int p = 0; p < Pixels; ++p) {
    x[p] = reinterpret_cast<const char*>(b.x + places.x[pixel + p]);
    sums[p][0] = b.first ? _mm256_setzero_ps() : _mm256_loadu_ps(y + y_at[p]);
    sums[p][1] = b.first ? _mm256_setzero_ps() : _mm256_loadu_ps(y + y_at[p] + 8);
  }
  const float* w = b.weights + panel * b.panel_stride;
  const int32_t* offset = b.offsets;
  const int32_t* const end = offset + b.runs;
  const int64_t run_bytes = b.run * 4;
  // Not unrolled: the compiler would let sums wander from register to register and spill two of them.
  for (; offset != end; ++offset) {
    if (end - offset > kAheadRuns) {
#pragma GCC unroll 6
      for (int p = 0; p < Pixels; ++p) __builtin_prefetch(x[p] + int64_t{offset[kAheadRuns]} * 4);
    }
    int64_t at = int64_t{*offset} * 4;
#pragma GCC unroll 1
    for (const int64_t stop = at + run_bytes; at != stop; at += 4, w += 16) step(x, at, w, sums);
  }
  if (b.last) return finish(b, places, pixel, panel, sums);
#pragma GCC unroll 12
  for (int i = 0; i < 2 * Pixels; ++i) _mm256_storeu_ps(y + y_at[i / 2] + i % 2 * 8, sums[i / 2][i % 2]);
}

using Tile = void (*)(const ConvolutionBlock&, const PixelPlaces&, int64_t, int);
constexpr Tile kTiles[kPixels] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

void convolve(const ConvolutionBlock& block, const PixelPlaces& places, int64_t pixels) {
  for (int panel = 0; panel < block.panels; ++panel) {
    // Tiles of five and six, not of six and one: a small one waits for its own sums.
    int64_t tiles = (pixels + kPixels - 1) / kPixels;
    for (int64_t pixel = 0; tiles != 0; --tiles) {
      const int64_t count = (pixels - pixel + tiles - 1) / tiles;
      kTiles[count - 1](block, places, pixel, panel);
      pixel += count;
    }
  }
}

}  // namespace

void fill_avx2_convolution(KernelTable& table) { table.convolve = convolve; }

}  // namespace tersely
