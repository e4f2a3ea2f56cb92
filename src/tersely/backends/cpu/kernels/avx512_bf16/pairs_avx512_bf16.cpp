// Convolution of bfloat16 by vdpbf16ps: as under AVX-512 (convolution_avx512.cpp), but two columns at a time, which lie
// side by side in x: a dword of x is an operand of every output's product.
//
// vdpbf16ps adds the odd column's product first, then the even one's, each rounded to nearest even; subnormal numbers
// are zero on the way in and out, whatever MXCSR says.
// MEASURED on Zen 5: twice the products of an FMA.
#include <immintrin.h>

#include <cstddef>

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int kPixels = 12;

inline __attribute__((always_inline)) __m512bh pairs_of(__m512i v) { return __builtin_bit_cast(__m512bh, v); }

// x: bytes of each pixel; at: bytes from there.
template <int Panels, int Pixels>
inline __attribute__((always_inline)) void step(const char* const (&x)[Pixels], int64_t at, const uint16_t* w,
                                                int64_t stride, __m512 (&sums)[Pixels][Panels]) {
  __m512bh weights[Panels];
#pragma GCC unroll 2
  for (int k = 0; k < Panels; ++k) weights[k] = pairs_of(_mm512_loadu_si512(w + k * stride));
#pragma GCC unroll 12
  for (int p = 0; p < Pixels; ++p) {
    int pair;
    __builtin_memcpy(&pair, x[p] + at, 4);
    const __m512bh value = pairs_of(_mm512_set1_epi32(pair));
#pragma GCC unroll 2
    for (int k = 0; k < Panels; ++k) sums[p][k] = _mm512_dpbf16_ps(sums[p][k], weights[k], value);
  }
}

inline __attribute__((always_inline)) void store_rounded(uint16_t* to, __m512 value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), __builtin_bit_cast(__m256i, _mm512_cvtneps_pbh(value)));
}

template <int Panels, int Pixels>
inline __attribute__((always_inline)) void finish(const PairBlock& block, const PixelPlaces& places, int64_t pixel,
                                                  __m512 (&sums)[Pixels][Panels]) {
  const PairBlock b = block;  // stores to y may not make the compiler read it again
  const int32_t *const y_at = places.y + pixel, *const residual_at = places.residual + pixel;
  const __m512 least = _mm512_set1_ps(b.low), greatest = _mm512_set1_ps(b.high);
#pragma GCC unroll 2
  for (int k = 0; k < Panels; ++k) {
    const float* const residual = b.residual == nullptr ? nullptr : b.residual + k * b.residual_panel_stride;
    const __m512 scale = b.scale == nullptr ? _mm512_set1_ps(1.0F) : _mm512_loadu_ps(b.scale + k * 16);
    const __m512 shift = b.shift == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(b.shift + k * 16);
#pragma GCC unroll 12
    for (int p = 0; p < Pixels; ++p) {
      __m512 value = _mm512_fmadd_ps(sums[p][k], scale, shift);
      if (residual != nullptr) value = _mm512_add_ps(value, _mm512_loadu_ps(residual + residual_at[p]));
      // The second operand where one is NaN.
      value = _mm512_min_ps(greatest, _mm512_max_ps(least, value));
      const int64_t to = y_at[p] + k * b.y_panel_stride;
      if (b.y != nullptr) _mm512_storeu_ps(b.y + to, value);
      if (b.rounded != nullptr) store_rounded(b.rounded + to, value);
    }
  }
}

// Together: pairs of a run whose number divides it.
template <int Panels, int Pixels, int Together>
inline __attribute__((always_inline)) void by_runs(const PairBlock& b, const char* const (&x)[Pixels], int64_t stride,
                                                   __m512 (&sums)[Pixels][Panels]) {
  const uint16_t* w = b.weights;
  const int64_t run_bytes = b.run * 4;
  const int32_t* offset = b.offsets;
  const int32_t* const end = offset + b.runs;
  for (; offset != end; ++offset) {
    int64_t at = int64_t{*offset} * 2;
    const int64_t stop = at + run_bytes;
#pragma GCC unroll 1
    for (; at != stop; at += Together * 4, w += Together * 32) {
#pragma GCC unroll 4
      for (int k = 0; k < Together; ++k) step<Panels, Pixels>(x, at + k * 4, w + k * 32, stride, sums);
    }
  }
}

template <int Panels, int Pixels>
void tile(const PairBlock& b, const PixelPlaces& places, int64_t pixel) {
  const char* x[Pixels];
  __m512 sums[Pixels][Panels];
#pragma GCC unroll 12
  for (int p = 0; p < Pixels; ++p) {
    x[p] = reinterpret_cast<const char*>(b.x + places.x[pixel + p]);
#pragma GCC unroll 2
    for (int k = 0; k < Panels; ++k) sums[p][k] = _mm512_setzero_ps();
  }
  const int64_t stride = b.panel_stride;
  if (b.run % 4 == 0) {
    by_runs<Panels, Pixels, 4>(b, x, stride, sums);
  } else if (b.run % 2 == 0) {  // a camera's channels, among others
    by_runs<Panels, Pixels, 2>(b, x, stride, sums);
  } else {
    by_runs<Panels, Pixels, 1>(b, x, stride, sums);
  }
  finish<Panels, Pixels>(b, places, pixel, sums);
}

using Tile = void (*)(const PairBlock&, const PixelPlaces&, int64_t);
template <int Panels>
constexpr Tile kTiles[kPixels] = {tile<Panels, 1>, tile<Panels, 2>,  tile<Panels, 3>,  tile<Panels, 4>,
                                  tile<Panels, 5>, tile<Panels, 6>,  tile<Panels, 7>,  tile<Panels, 8>,
                                  tile<Panels, 9>, tile<Panels, 10>, tile<Panels, 11>, tile<Panels, 12>};

void convolve(const PairBlock& block, const PixelPlaces& places, int64_t pixels) {
  int64_t tiles = (pixels + kPixels - 1) / kPixels;
  for (int64_t pixel = 0; tiles != 0; --tiles) {
    const int64_t count = (pixels - pixel + tiles - 1) / tiles;
    (block.panels == 2 ? kTiles<2> : kTiles<1>)[count - 1](block, places, pixel);
    pixel += count;
  }
}

void round_floats(const float* x, int64_t count, uint16_t* out) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) store_rounded(out + i, _mm512_loadu_ps(x + i));
  if (i == count) return;
  float rest[16] = {};
  uint16_t words[16];
  __builtin_memcpy(rest, x + i, static_cast<size_t>(count - i) * 4);
  store_rounded(words, _mm512_loadu_ps(rest));
  __builtin_memcpy(out + i, words, static_cast<size_t>(count - i) * 2);
}

}  // namespace

void fill_avx512_bf16_pairs(KernelTable& table) { table.pairs = {convolve, round_floats}; }

}  // namespace tersely
