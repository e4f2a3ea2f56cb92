// Quantised convolutions under AVX-512: one or two panels by up to twelve pixels. VNNI multiplies four columns of 16
// outputs by four channels of a pixel, and adds them up, at once.
#include <immintrin.h>

#include "tersely/backends/cpu/kernels/quantised_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int kPixels = 12;

inline __attribute__((always_inline)) __m512 between(__m512 value, float low, float high) {
  return _mm512_min_ps(_mm512_max_ps(value, _mm512_set1_ps(low)), _mm512_set1_ps(high));
}

inline __attribute__((always_inline)) void store_rounded(__m512 value, int32_t zero, uint8_t* y) {
  const __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(value), _mm512_set1_epi32(zero));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm512_cvtepi32_epi8(whole));
}

inline __attribute__((always_inline)) __m512i wide(const uint8_t* x) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

struct Avx512 {
  typedef __m512i Sums;
  static inline __attribute__((always_inline)) Sums load(const int32_t* at) { return _mm512_loadu_si512(at); }
  // x is positive: the upper half of a weight meets zeros.
  static inline __attribute__((always_inline)) void add(Sums& sums, const uint8_t* x, const Sums& weight) {
    sums = _mm512_add_epi32(sums, _mm512_madd_epi16(wide(x), weight));
  }
  static inline __attribute__((always_inline)) void requantise(const Sums& sums, const Requantisation& to, uint8_t* y) {
    const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(to.scale));
    store_rounded(between(value, to.low, to.high), to.zero, y);
  }
  static inline __attribute__((always_inline)) __m512 number(const uint8_t* x, int32_t zero, float scale) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(wide(x), _mm512_set1_epi32(zero))), _mm512_set1_ps(scale));
  }
  static inline __attribute__((always_inline)) void add_sixteen(const uint8_t* x, const uint8_t* z,
                                                                const QuantisedSum& s, float reciprocal, uint8_t* y) {
    const __m512 total = _mm512_add_ps(number(x, s.x_zero, s.x_scale), number(z, s.z_zero, s.z_scale));
    __m512 value = between(_mm512_mul_ps(total, _mm512_set1_ps(reciprocal)), s.low, s.high);
    const __m512 beyond = _mm512_sub_ps(value, _mm512_cvtepi32_ps(_mm512_cvtps_epi32(value)));
    if (__builtin_expect(_mm512_cmp_ps_mask(_mm512_abs_ps(beyond), _mm512_set1_ps(kNearTie), _CMP_GT_OQ) != 0, 0))
      value = between(_mm512_div_ps(total, _mm512_set1_ps(s.y_scale)), s.low, s.high);
    store_rounded(value, s.zero, y);
  }
};

template <int Panels, int Pixels>
inline __attribute__((always_inline)) void step(const uint8_t* const (&x)[Pixels], int64_t at, const int8_t* w,
                                                int64_t stride, __m512i (&sums)[Pixels][Panels]) {
  __m512i weights[Panels];
#pragma GCC unroll 2
  for (int k = 0; k < Panels; ++k) weights[k] = _mm512_loadu_si512(w + k * stride);
#pragma GCC unroll 12
  for (int p = 0; p < Pixels; ++p) {
    int32_t four;
    __builtin_memcpy(&four, x[p] + at, sizeof four);
    const __m512i value = _mm512_set1_epi32(four);
#pragma GCC unroll 2
    for (int k = 0; k < Panels; ++k) sums[p][k] = _mm512_dpbusd_epi32(sums[p][k], value, weights[k]);
  }
}

template <int Panels, int Pixels>
inline __attribute__((always_inline)) void finish(const QuantisedBlock& b, const PixelPlaces& places, int64_t pixel,
                                                  __m512i (&sums)[Pixels][Panels]) {
  const Requantisation to = b.to;  // stores to y may not make the compiler read it again
  uint8_t* const y = b.y;
  float* const floats = b.floats;
  const int32_t* const y_at = places.y + pixel;
  const int64_t stride = b.y_panel_stride;
  if (y == nullptr) {
#pragma GCC unroll 2
    for (int k = 0; k < Panels; ++k) {
      const __m512 scale = _mm512_loadu_ps(to.scale + k * 16);
#pragma GCC unroll 12
      for (int p = 0; p < Pixels; ++p)
        _mm512_storeu_ps(floats + k * stride + y_at[p],
                         between(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[p][k]), scale), to.low, to.high));
    }
    return;
  }
  // Loops without branches: else the compiler keeps sums in memory.
#pragma GCC unroll 2
  for (int k = 0; k < Panels; ++k) {
    const __m512 scale = _mm512_loadu_ps(to.scale + k * 16);
#pragma GCC unroll 12
    for (int p = 0; p < Pixels; ++p)
      store_rounded(between(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[p][k]), scale), to.low, to.high), to.zero,
                    y + k * stride + y_at[p]);
  }
}

template <int Panels, int Pixels>
void tile(const QuantisedBlock& b, const PixelPlaces& places, int64_t pixel) {
  const uint8_t* x[Pixels];
  __m512i sums[Pixels][Panels];
#pragma GCC unroll 12
  for (int p = 0; p < Pixels; ++p) {
    x[p] = b.x + places.x[pixel + p];
#pragma GCC unroll 2
    for (int k = 0; k < Panels; ++k) sums[p][k] = _mm512_loadu_si512(b.start + k * 16);
  }
  const int8_t* w = b.weights;
  const int64_t stride = b.panel_stride, run_bytes = b.run * 4;
  const int32_t* offset = b.offsets;
  const int32_t* const end = offset + b.runs;
  for (; offset != end; ++offset) {
    int64_t at = *offset;
    const int64_t stop = at + run_bytes;
    if (b.run % 4 == 0) {
      for (; at != stop; at += 16, w += 256) {
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) step<Panels, Pixels>(x, at + k * 4, w + k * 64, stride, sums);
      }
    } else {
#pragma GCC unroll 1
      for (; at != stop; at += 4, w += 64) step<Panels, Pixels>(x, at, w, stride, sums);
    }
  }
  finish<Panels, Pixels>(b, places, pixel, sums);
}

using Tile = void (*)(const QuantisedBlock&, const PixelPlaces&, int64_t);
template <int Panels>
constexpr Tile kTiles[kPixels] = {tile<Panels, 1>, tile<Panels, 2>,  tile<Panels, 3>,  tile<Panels, 4>,
                                  tile<Panels, 5>, tile<Panels, 6>,  tile<Panels, 7>,  tile<Panels, 8>,
                                  tile<Panels, 9>, tile<Panels, 10>, tile<Panels, 11>, tile<Panels, 12>};

void convolve(const QuantisedBlock& block, const PixelPlaces& places, int64_t pixels) {
  int64_t tiles = (pixels + kPixels - 1) / kPixels;
  for (int64_t pixel = 0; tiles != 0; --tiles) {
    const int64_t count = (pixels - pixel + tiles - 1) / tiles;
    (block.panels == 2 ? kTiles<2> : kTiles<1>)[count - 1](block, places, pixel);
    pixel += count;
  }
}

}  // namespace

void fill_avx512_quantised(KernelTable& table) { table.quantised = quantised_kernels<Avx512>(convolve); }

}  // namespace tersely
