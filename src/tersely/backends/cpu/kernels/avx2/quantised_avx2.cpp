// Quantised values under AVX2. vpmaddubsw would saturate at 16 bits, 2 x 255 x 128 being more than 2^15, so bytes are
// widened for vpmaddwd: even columns, then odd ones.
#include "tersely/backends/cpu/kernels/avx2/quantised.hpp"

namespace tersely {
namespace {

struct Widened {
  template <int Pixels>
  static inline __attribute__((always_inline)) void add(const uint8_t* const (&x)[Pixels], int64_t at, const int8_t* w,
                                                        __m256i (&sums)[Pixels][2]) {
    const __m256i upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    const __m256i lower = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32));
    {
      const __m256i even = _mm256_set1_epi16(255);
      const __m256i a = _mm256_srai_epi16(_mm256_slli_epi16(upper, 8), 8);
      const __m256i b = _mm256_srai_epi16(_mm256_slli_epi16(lower, 8), 8);
#pragma GCC unroll 6
      for (int p = 0; p < Pixels; ++p) {
        const __m256i value = _mm256_and_si256(four_channels(x[p] + at), even);
        sums[p][0] = _mm256_add_epi32(sums[p][0], _mm256_madd_epi16(a, value));
        sums[p][1] = _mm256_add_epi32(sums[p][1], _mm256_madd_epi16(b, value));
      }
    }
    const __m256i a = _mm256_srai_epi16(upper, 8), b = _mm256_srai_epi16(lower, 8);
#pragma GCC unroll 6
    for (int p = 0; p < Pixels; ++p) {
      const __m256i value = _mm256_srli_epi16(four_channels(x[p] + at), 8);
      sums[p][0] = _mm256_add_epi32(sums[p][0], _mm256_madd_epi16(a, value));
      sums[p][1] = _mm256_add_epi32(sums[p][1], _mm256_madd_epi16(b, value));
    }
  }
};

}  // namespace

void fill_avx2_quantised(KernelTable& table) { table.quantised = quantised_kernels<Avx2>(convolve<Widened>); }

}  // namespace tersely
