// Fields of 8-bit weights with VNNI: one instruction for four products and their sum, whatever the bits of the fields.
// Unpacking stays that of AVX2. Rows of bytes are multiplied 512 bits at a time.
#include "tersely/backends/cpu/kernels/avx2/fields.hpp"

namespace tersely {
namespace {

struct Vnni {
  template <int Bits>
  static TERSELY_FIELDS_INLINE __m256i add(__m256i sum, __m256i f, __m256i g, __m256i x, __m256i y) {
    return _mm256_dpbusd_epi32(_mm256_dpbusd_epi32(sum, f, x), g, y);
  }
};

struct Words {
  using Vector = __m512i;
  static constexpr int kWords = 32;
  static TERSELY_FIELDS_INLINE Vector zero() { return _mm512_setzero_si512(); }
  static TERSELY_FIELDS_INLINE Vector load(const int16_t* at) { return _mm512_loadu_si512(at); }
  template <bool Signed>
  static TERSELY_FIELDS_INLINE Vector widen(const uint8_t* at) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    return Signed ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes);
  }
  static TERSELY_FIELDS_INLINE Vector multiply_add(Vector sum, Vector a, Vector b) {
    return _mm512_dpwssd_epi32(sum, a, b);
  }
  static TERSELY_FIELDS_INLINE __m128i sums_of(const Vector (&v)[4]) {
    const __m512i two = pairs_of(v[0], v[1]), others = pairs_of(v[2], v[3]);
    const __m512i four = _mm512_add_epi32(_mm512_unpacklo_epi64(two, others), _mm512_unpackhi_epi64(two, others));
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(four), _mm512_extracti64x4_epi64(four, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }

 private:
  static TERSELY_FIELDS_INLINE Vector pairs_of(Vector a, Vector b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  }
};

}  // namespace

void fill_avx512_fields(KernelTable& table) {
  table.multiply_fields = multiply_fields<Vnni>;
  table.multiply_bytes = multiply_bytes<Words>;
}

}  // namespace tersely
