// Fields of 8-bit weights under AVX2: fields.hpp with vpmaddwd and an addition. vpmaddubsw would saturate.
#include "laconic/kernels/avx2/fields.hpp"

namespace laconic {
namespace {

struct MultiplyAdd {
  static LACONIC_FIELDS_INLINE __m256i run(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
};

void unpack_fields(const uint8_t* fields, int64_t blocks, int bits, uint8_t base, uint8_t flip, uint8_t* out) {
  const __m256i from = _mm256_set1_epi8(static_cast<char>(base)), to = _mm256_set1_epi8(static_cast<char>(flip));
  switch (bits) {
    case 0:
      __builtin_memset(out, base ^ flip, static_cast<size_t>(blocks) * 256);
      break;
    case 1:
      return unpack<1>(fields, blocks, from, to, out);
    case 2:
      return unpack<2>(fields, blocks, from, to, out);
    case 3:
      return unpack<3>(fields, blocks, from, to, out);
    case 4:
      return unpack<4>(fields, blocks, from, to, out);
    case 5:
      return unpack<5>(fields, blocks, from, to, out);
    case 6:
      return unpack<6>(fields, blocks, from, to, out);
    case 7:
      return unpack<7>(fields, blocks, from, to, out);
    default:
      return unpack<8>(fields, blocks, from, to, out);
  }
}

}  // namespace

void fill_avx2_fields(KernelTable& table) {
  table.unpack_fields = unpack_fields;
  table.multiply_fields = multiply_fields<MultiplyAdd>;
  table.multiply_bytes = multiply_bytes<MultiplyAdd>;
}

}  // namespace laconic
