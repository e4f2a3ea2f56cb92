// Quantised values in registers of 256 bits; included by one file of each instruction set that has no wider ones, and
// internal to it. A tile of a convolution is one panel by six pixels: twelve sums, two registers of weights, one of x.
#pragma once

#include <immintrin.h>

#include "tersely/backends/cpu/kernels/quantised_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int kPixels = 6;

struct Sixteen {
  __m256i a, b;
};
struct SixteenFloats {
  __m256 a, b;
};

inline __attribute__((always_inline)) Sixteen wide(const uint8_t* x) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x))),
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + 8)))};
}

inline __attribute__((always_inline)) __m256 between(__m256 value, __m256 low, __m256 high) {
  return _mm256_min_ps(_mm256_max_ps(value, low), high);
}

// Integers from 0 to 255.
inline __attribute__((always_inline)) void store(const Sixteen& value, uint8_t* y) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(value.a, value.b), 0xd8);
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bytes);
}

inline __attribute__((always_inline)) SixteenFloats scaled(const Sixteen& sums, const float* scale, __m256 low,
                                                           __m256 high) {
  return {between(_mm256_mul_ps(_mm256_cvtepi32_ps(sums.a), _mm256_loadu_ps(scale)), low, high),
          between(_mm256_mul_ps(_mm256_cvtepi32_ps(sums.b), _mm256_loadu_ps(scale + 8)), low, high)};
}

inline __attribute__((always_inline)) void store_rounded(const SixteenFloats& value, __m256i zero, uint8_t* y) {
  store({_mm256_add_epi32(_mm256_cvtps_epi32(value.a), zero), _mm256_add_epi32(_mm256_cvtps_epi32(value.b), zero)}, y);
}

struct Avx2 {
  typedef Sixteen Sums;
  static inline __attribute__((always_inline)) Sums load(const int32_t* at) {
    const auto* from = reinterpret_cast<const __m256i*>(at);
    return {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
  }
  // x is positive: the upper half of a weight meets zeros.
  static inline __attribute__((always_inline)) void add(Sums& sums, const uint8_t* x, const Sums& weight) {
    const Sixteen values = wide(x);
    sums.a = _mm256_add_epi32(sums.a, _mm256_madd_epi16(values.a, weight.a));
    sums.b = _mm256_add_epi32(sums.b, _mm256_madd_epi16(values.b, weight.b));
  }
  static inline __attribute__((always_inline)) void requantise(const Sums& sums, const Requantisation& to, uint8_t* y) {
    store_rounded(scaled(sums, to.scale, _mm256_set1_ps(to.low), _mm256_set1_ps(to.high)), _mm256_set1_epi32(to.zero),
                  y);
  }
  static inline __attribute__((always_inline)) __m256 number(__m256i x, int32_t zero, float scale) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(x, _mm256_set1_epi32(zero))), _mm256_set1_ps(scale));
  }
  static inline __attribute__((always_inline)) __m256 near_tie(__m256 value) {
    const __m256 beyond = _mm256_sub_ps(value, _mm256_round_ps(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0F), beyond);
    return _mm256_cmp_ps(size, _mm256_set1_ps(kNearTie), _CMP_GT_OQ);
  }
  static inline __attribute__((always_inline)) void add_sixteen(const uint8_t* x, const uint8_t* z,
                                                                const QuantisedSum& s, float reciprocal, uint8_t* y) {
    const __m256 low = _mm256_set1_ps(s.low), high = _mm256_set1_ps(s.high), factor = _mm256_set1_ps(reciprocal);
    const Sixteen a = wide(x), b = wide(z);
    const __m256 first = _mm256_add_ps(number(a.a, s.x_zero, s.x_scale), number(b.a, s.z_zero, s.z_scale));
    const __m256 second = _mm256_add_ps(number(a.b, s.x_zero, s.x_scale), number(b.b, s.z_zero, s.z_scale));
    SixteenFloats value{between(_mm256_mul_ps(first, factor), low, high),
                        between(_mm256_mul_ps(second, factor), low, high)};
    if (__builtin_expect(_mm256_movemask_ps(_mm256_or_ps(near_tie(value.a), near_tie(value.b))) != 0, 0)) {
      const __m256 divisor = _mm256_set1_ps(s.y_scale);
      value = {between(_mm256_div_ps(first, divisor), low, high), between(_mm256_div_ps(second, divisor), low, high)};
    }
    store_rounded(value, _mm256_set1_epi32(s.zero), y);
  }
};

// totals: [Pixels][16].
template <int Pixels>
inline __attribute__((always_inline)) void finish(const QuantisedBlock& b, const PixelPlaces& places, int64_t pixel,
                                                  int panel, const int32_t* totals) {
  const Requantisation to = b.to;  // stores to y may not make the compiler read it again
  const int64_t base = panel * b.y_panel_stride;
  uint8_t* const y = b.y;
  float* const floats = b.floats;
  const __m256 low = _mm256_set1_ps(to.low), high = _mm256_set1_ps(to.high);
  const __m256i zero = _mm256_set1_epi32(to.zero);
  for (int p = 0; p < Pixels; ++p) {
    const SixteenFloats value = scaled(Avx2::load(totals + p * 16), to.scale + panel * 16, low, high);
    const int64_t at = base + places.y[pixel + p];
    if (y == nullptr) {
      _mm256_storeu_ps(floats + at, value.a);
      _mm256_storeu_ps(floats + at + 8, value.b);
    } else {
      store_rounded(value, zero, y + at);
    }
  }
}

inline __attribute__((always_inline)) __m256i four_channels(const uint8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return _mm256_set1_epi32(four);
}

// Step::add: one group of four columns to the sums of all pixels.
template <class Step, int Pixels>
void tile(const QuantisedBlock& b, const PixelPlaces& places, int64_t pixel, int panel) {
  const uint8_t* x[Pixels];
  __m256i sums[Pixels][2];
  const auto* start = reinterpret_cast<const __m256i*>(b.start + panel * 16);
#pragma GCC unroll 6
  for (int p = 0; p < Pixels; ++p) {
    x[p] = b.x + places.x[pixel + p];
    sums[p][0] = _mm256_loadu_si256(start);
    sums[p][1] = _mm256_loadu_si256(start + 1);
  }
  const int8_t* w = b.weights + panel * b.panel_stride;
  const int32_t* offset = b.offsets;
  const int32_t* const end = offset + b.runs;
  const int64_t run_bytes = b.run * 4;
  for (; offset != end; ++offset) {
    int64_t at = *offset;
#pragma GCC unroll 1
    for (const int64_t stop = at + run_bytes; at != stop; at += 4, w += 64) Step::add(x, at, w, sums);
  }
  // Through memory that the compiler cannot see through: else it writes sums there in every step, for want of registers
  // behind the loop.
  alignas(32) int32_t totals[Pixels * 16];
#pragma GCC unroll 12
  for (int i = 0; i < 2 * Pixels; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(totals) + i, sums[i / 2][i % 2]);
  asm volatile("" : "+m"(totals));
  finish<Pixels>(b, places, pixel, panel, totals);
}

using Tile = void (*)(const QuantisedBlock&, const PixelPlaces&, int64_t, int);
template <class Step>
constexpr Tile kTiles[kPixels] = {tile<Step, 1>, tile<Step, 2>, tile<Step, 3>,
                                  tile<Step, 4>, tile<Step, 5>, tile<Step, 6>};

template <class Step>
void convolve(const QuantisedBlock& block, const PixelPlaces& places, int64_t pixels) {
  for (int panel = 0; panel < block.panels; ++panel) {
    int64_t tiles = (pixels + kPixels - 1) / kPixels;
    for (int64_t pixel = 0; tiles != 0; --tiles) {
      const int64_t count = (pixels - pixel + tiles - 1) / tiles;
      kTiles<Step>[count - 1](block, places, pixel, panel);
      pixel += count;
    }
  }
}

}  // namespace
}  // namespace tersely
