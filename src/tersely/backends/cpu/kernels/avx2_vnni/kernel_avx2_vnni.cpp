// What AVX-VNNI adds to AVX2: four products of bytes and their sum at once, exact. Processors without AVX-512 have it
// since Alder Lake.
#include "tersely/backends/cpu/kernels/avx2/quantised.hpp"

namespace tersely {
namespace {

struct Vnni {
  template <int Pixels>
  static inline __attribute__((always_inline)) void add(const uint8_t* const (&x)[Pixels], int64_t at, const int8_t* w,
                                                        __m256i (&sums)[Pixels][2]) {
    const __m256i upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    const __m256i lower = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32));
#pragma GCC unroll 6
    for (int p = 0; p < Pixels; ++p) {
      const __m256i value = four_channels(x[p] + at);
      sums[p][0] = _mm256_dpbusd_avx_epi32(sums[p][0], value, upper);
      sums[p][1] = _mm256_dpbusd_avx_epi32(sums[p][1], value, lower);
    }
  }
};

}  // namespace

void fill_avx2_vnni(KernelTable& table) {
  table.isa = "avx2_vnni";
  table.quantised = quantised_kernels<Avx2>(convolve<Vnni>);
}

}  // namespace tersely
