// Fields of 8-bit weights with VNNI: one instruction for four products and their sum, whatever the bits of the fields.
// Unpacking stays that of AVX2.
#include "tersely/backends/cpu/kernels/avx2/fields.hpp"

namespace tersely {
namespace {

struct Vnni {
  static TERSELY_FIELDS_INLINE __m256i multiply_add(__m256i sum, __m256i a, __m256i b) {
    return _mm256_dpwssd_epi32(sum, a, b);
  }
  template <int Bits>
  static TERSELY_FIELDS_INLINE __m256i add(__m256i sum, __m256i f, __m256i g, __m256i x, __m256i y) {
    return _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(sum, f, x), g, y);
  }
};

}  // namespace

void fill_avx512_fields(KernelTable& table) {
  table.multiply_fields = multiply_fields<Vnni>;
  table.multiply_bytes = multiply_bytes<Vnni>;
}

}  // namespace tersely
