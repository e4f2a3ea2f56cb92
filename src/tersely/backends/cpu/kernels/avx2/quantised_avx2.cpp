// Quantised convolutions under AVX2: one panel by six pixels. vpmaddubsw would saturate at 16 bits, 2 x 255 x 128 being
// more than 2^15, so bytes are widened for vpmaddwd: even columns, then odd ones.
#include <immintrin.h>

#include "tersely/backends/cpu/kernels/quantised_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int kPixels = 6;

struct Avx2 {
  static inline __attribute__((always_inline)) Integers16 add(Integers16 sums, Integers16 x, Integers16 weight) {
    __m256i a[2], b[2], c[2];
    __builtin_memcpy(a, &sums, sizeof a);
    __builtin_memcpy(b, &x, sizeof b);
    __builtin_memcpy(c, &weight, sizeof c);
    // x is positive: the upper half of a weight meets zeros.
    for (int k = 0; k < 2; ++k) a[k] = _mm256_add_epi32(a[k], _mm256_madd_epi16(b[k], c[k]));
    __builtin_memcpy(&sums, a, sizeof a);
    return sums;
  }
};

inline __attribute__((always_inline)) __m256i all_of(const uint8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return _mm256_set1_epi32(four);
}

// One group of four columns.
template <int Pixels>
inline __attribute__((always_inline)) void step(const uint8_t* const (&x)[Pixels], int64_t at, const int8_t* w,
                                                __m256i (&sums)[Pixels][2]) {
  const __m256i upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
  const __m256i lower = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32));
  {
    const __m256i even = _mm256_set1_epi16(255);
    const __m256i a = _mm256_srai_epi16(_mm256_slli_epi16(upper, 8), 8);
    const __m256i b = _mm256_srai_epi16(_mm256_slli_epi16(lower, 8), 8);
#pragma GCC unroll 6
    for (int p = 0; p < Pixels; ++p) {
      const __m256i value = _mm256_and_si256(all_of(x[p] + at), even);
      sums[p][0] = _mm256_add_epi32(sums[p][0], _mm256_madd_epi16(a, value));
      sums[p][1] = _mm256_add_epi32(sums[p][1], _mm256_madd_epi16(b, value));
    }
  }
  const __m256i a = _mm256_srai_epi16(upper, 8), b = _mm256_srai_epi16(lower, 8);
#pragma GCC unroll 6
  for (int p = 0; p < Pixels; ++p) {
    const __m256i value = _mm256_srli_epi16(all_of(x[p] + at), 8);
    sums[p][0] = _mm256_add_epi32(sums[p][0], _mm256_madd_epi16(a, value));
    sums[p][1] = _mm256_add_epi32(sums[p][1], _mm256_madd_epi16(b, value));
  }
}

template <int Pixels>
inline __attribute__((always_inline)) void finish(const QuantisedBlock& b, const PixelPlaces& places, int64_t pixel,
                                                  int panel, __m256i (&sums)[Pixels][2]) {
  const Requantisation to = b.to;
  const int64_t base = panel * b.y_panel_stride;
  uint8_t* const y = b.y;
  float* const floats = b.floats;
  const __m256 low = _mm256_set1_ps(to.low), high = _mm256_set1_ps(to.high);
  const __m256 first = _mm256_loadu_ps(to.scale + panel * 16), second = _mm256_loadu_ps(to.scale + panel * 16 + 8);
  const __m256i zero = _mm256_set1_epi32(to.zero);
#pragma GCC unroll 6
  for (int p = 0; p < Pixels; ++p) {
    const int64_t at = base + places.y[pixel + p];
    __m256 v[2] = {_mm256_mul_ps(_mm256_cvtepi32_ps(sums[p][0]), first),
                   _mm256_mul_ps(_mm256_cvtepi32_ps(sums[p][1]), second)};
    for (__m256& one : v) one = _mm256_min_ps(_mm256_max_ps(one, low), high);
    if (y == nullptr) {
      _mm256_storeu_ps(floats + at, v[0]);
      _mm256_storeu_ps(floats + at + 8, v[1]);
      continue;
    }
    const __m256i a = _mm256_add_epi32(_mm256_cvtps_epi32(v[0]), zero);
    const __m256i c = _mm256_add_epi32(_mm256_cvtps_epi32(v[1]), zero);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, c), 0xd8);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + at), bytes);
  }
}

template <int Pixels>
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
    for (const int64_t stop = at + run_bytes; at != stop; at += 4, w += 64) step(x, at, w, sums);
  }
  finish(b, places, pixel, panel, sums);
}

using Tile = void (*)(const QuantisedBlock&, const PixelPlaces&, int64_t, int);
constexpr Tile kTiles[kPixels] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

void convolve(const QuantisedBlock& block, const PixelPlaces& places, int64_t pixels) {
  for (int panel = 0; panel < block.panels; ++panel) {
    int64_t tiles = (pixels + kPixels - 1) / kPixels;
    for (int64_t pixel = 0; tiles != 0; --tiles) {
      const int64_t count = (pixels - pixel + tiles - 1) / tiles;
      kTiles[count - 1](block, places, pixel, panel);
      pixel += count;
    }
  }
}

}  // namespace

void fill_avx2_quantised(KernelTable& table) { table.quantised = quantised_kernels<Avx2>(convolve); }

}  // namespace tersely
