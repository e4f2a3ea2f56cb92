// Fields of 8-bit weights under AVX2.
//
// vpmaddubsw saturates at 16 bits, but not with fields of 7 bits: 2 x 127 x 128 < 2^15; and with fields of 6 bits two
// of its results can be added first: 4 x 63 x 128 < 2^15. Fields of 8 bits are widened for vpmaddwd.
#include "tersely/backends/cpu/kernels/avx2/fields.hpp"

namespace tersely {
namespace {

struct Avx2 {
  static TERSELY_FIELDS_INLINE __m256i multiply_add(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
  template <int Bits>
  static TERSELY_FIELDS_INLINE __m256i add(__m256i sum, __m256i f, __m256i g, __m256i x, __m256i y) {
    if constexpr (Bits == 8) return add_bytes(add_bytes(sum, f, x), g, y);
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i first = _mm256_maddubs_epi16(f, x), second = _mm256_maddubs_epi16(g, y);
    if constexpr (Bits == 7) return multiply_add(multiply_add(sum, first, ones), second, ones);
    return multiply_add(sum, _mm256_add_epi16(first, second), ones);
  }

 private:
  // Even and odd columns of a row lie in the low and high bytes of its words.
  static TERSELY_FIELDS_INLINE __m256i add_bytes(__m256i sum, __m256i f, __m256i x) {
    const __m256i even = _mm256_and_si256(f, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(f, 8);
    sum = multiply_add(sum, even, _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    return multiply_add(sum, odd, _mm256_srai_epi16(x, 8));
  }
};

struct Words {
  using Vector = __m256i;
  static constexpr int kWords = 16;
  static TERSELY_FIELDS_INLINE Vector zero() { return _mm256_setzero_si256(); }
  static TERSELY_FIELDS_INLINE Vector load(const int16_t* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  template <bool Signed>
  static TERSELY_FIELDS_INLINE Vector widen(const uint8_t* at) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    return Signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
  }
  static TERSELY_FIELDS_INLINE Vector multiply_add(Vector sum, Vector a, Vector b) {
    return Avx2::multiply_add(sum, a, b);
  }
  static TERSELY_FIELDS_INLINE __m128i sums_of(const Vector (&v)[4]) {
    const __m256i two = _mm256_hadd_epi32(v[0], v[1]), others = _mm256_hadd_epi32(v[2], v[3]);
    const __m256i four = _mm256_hadd_epi32(two, others);
    return _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
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

// Eight rows of four columns to four columns of eight rows.
TERSELY_FIELDS_INLINE __m256i turn_half(const uint8_t* at) {
  const __m256i by_column =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m256i rows = _mm256_shuffle_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)), by_column);
  return _mm256_permutevar8x32_epi32(rows, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

void turn_chunks(const uint8_t* chunks, int64_t count, uint8_t* out) {
  for (int64_t j = 0; j < count; ++j, chunks += 64, out += 64) {
    const __m256i upper = turn_half(chunks), lower = turn_half(chunks + 32);
    const __m256i even = _mm256_unpacklo_epi64(upper, lower), odd = _mm256_unpackhi_epi64(upper, lower);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32), _mm256_permute2x128_si256(even, odd, 0x31));
  }
}

void unpack_pairs(const uint8_t* pairs, int64_t count, bool is_signed, uint8_t* out) {
  const int sign = is_signed ? 8 : 0;
  const __m256i signs = _mm256_set1_epi8(static_cast<char>(sign)), low = _mm256_set1_epi8(15);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pairs + i)));
    const __m256i halves = _mm256_and_si256(_mm256_or_si256(wide, _mm256_slli_epi16(wide, 4)), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 2 * i),
                        _mm256_sub_epi8(_mm256_xor_si256(halves, signs), signs));
  }
  for (; i < count; ++i) {
    out[2 * i] = static_cast<uint8_t>(((pairs[i] & 15) ^ sign) - sign);
    out[2 * i + 1] = static_cast<uint8_t>(((pairs[i] >> 4) ^ sign) - sign);
  }
}

}  // namespace

void fill_avx2_fields(KernelTable& table) {
  table.unpack_fields = unpack_fields;
  table.turn_chunks = turn_chunks;
  table.multiply_fields = multiply_fields<Avx2>;
  table.multiply_bytes = multiply_bytes<Words>;
  table.unpack_pairs = unpack_pairs;
}

}  // namespace tersely
