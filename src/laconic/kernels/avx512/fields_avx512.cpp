// Fields of 8-bit weights with VNNI: fields.hpp with vpdpwssd, one instruction for a product and a sum. Unpacking stays
// that of AVX2: it waits for memory.
#include "laconic/kernels/avx2/fields.hpp"

namespace laconic {
namespace {

struct MultiplyAdd {
  static LACONIC_FIELDS_INLINE __m256i run(__m256i sum, __m256i a, __m256i b) { return _mm256_dpwssd_epi32(sum, a, b); }
};

}  // namespace

void fill_avx512_fields(KernelTable& table) {
  table.multiply_fields = multiply_fields<MultiplyAdd>;
  table.multiply_bytes = multiply_bytes<MultiplyAdd>;
}

}  // namespace laconic
