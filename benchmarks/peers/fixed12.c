/* Floats of 16 or 32 bits, turned left by one bit: their highest byte, the exponent, is a code of 4 bits into a table
   of 15, or the escape, 15, and is then the next byte of a list. The other bits are a plane of 8 bits, and one of 16
   for 32 bits. */
#include <stdint.h>
#include <string.h>

enum { kEscape = 15 };

static inline int code_at(const uint8_t* codes, int64_t k) { return codes[k >> 1] >> 4 * (k & 1) & 15; }

static inline uint32_t exponent_at(const uint8_t* codes, int64_t k, const uint8_t* table, const uint8_t** escapes) {
  const int code = code_at(codes, k);
  return code == kEscape ? *(*escapes)++ : table[code];
}

static inline uint16_t word_16(uint32_t exponent, uint32_t byte) {
  return (uint16_t)(exponent << 7 | byte >> 1 | byte << 15);
}
static inline uint32_t word_32(uint32_t exponent, uint32_t byte, uint32_t low) {
  return exponent << 23 | byte << 15 | low >> 1 | low << 31;
}
static inline float value_of(uint32_t word) {
  float value;
  memcpy(&value, &word, 4);
  return value;
}

/* Weights from `first` to `last`; escapes goes on. */
static void plain_16(const uint8_t* codes, const uint8_t* bytes, const uint8_t* table, const uint8_t** escapes,
                     int64_t first, int64_t last, uint16_t* out) {
  for (int64_t k = first; k < last; ++k) out[k] = word_16(exponent_at(codes, k, table, escapes), bytes[k]);
}
static void plain_32(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows, const uint8_t* table,
                     const uint8_t** escapes, int64_t first, int64_t last, uint32_t* out) {
  for (int64_t k = first; k < last; ++k) out[k] = word_32(exponent_at(codes, k, table, escapes), bytes[k], lows[k]);
}
static float plain_dot_16(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows, const uint8_t* table,
                          const uint8_t** escapes, int64_t first, int64_t last, const float* x) {
  float sum = 0;
  (void)lows;
  for (int64_t k = first; k < last; ++k)
    sum += value_of((uint32_t)word_16(exponent_at(codes, k, table, escapes), bytes[k]) << 16) * x[k - first];
  return sum;
}
static float plain_dot_32(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows, const uint8_t* table,
                          const uint8_t** escapes, int64_t first, int64_t last, const float* x) {
  float sum = 0;
  for (int64_t k = first; k < last; ++k)
    sum += value_of(word_32(exponent_at(codes, k, table, escapes), bytes[k], lows[k])) * x[k - first];
  return sum;
}

#ifdef __x86_64__
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))

/* The exponents of 16 weights from an even k on; those of escapes are put in by `with_escapes`. */
TARGET static inline __m128i exponents_of(const uint8_t* codes, __m128i table, int64_t k, int* escaped) {
  int64_t packed;
  memcpy(&packed, codes + (k >> 1), 8);
  const __m128i pairs = _mm_cvtsi64_si128(packed), low = _mm_set1_epi8(15);
  const __m128i each = _mm_unpacklo_epi8(_mm_and_si128(pairs, low), _mm_and_si128(_mm_srli_epi16(pairs, 4), low));
  *escaped = _mm_movemask_epi8(_mm_cmpeq_epi8(each, low));
  return _mm_shuffle_epi8(table, each);
}
TARGET static inline __m128i with_escapes(__m128i exponents, int escaped, const uint8_t** escapes) {
  uint8_t each[16];
  _mm_storeu_si128((__m128i*)each, exponents);
  for (; escaped; escaped &= escaped - 1) each[__builtin_ctz((unsigned)escaped)] = *(*escapes)++;
  return _mm_loadu_si128((const __m128i*)each);
}
TARGET static inline __m128i next_exponents(const uint8_t* codes, __m128i table, int64_t k, const uint8_t** escapes) {
  int escaped;
  const __m128i found = exponents_of(codes, table, k, &escaped);
  return __builtin_expect(escaped != 0, 0) ? with_escapes(found, escaped, escapes) : found;
}
TARGET static inline __m256i words_16(__m128i exponents, const uint8_t* bytes) {
  const __m256i byte = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)bytes));
  const __m256i high = _mm256_slli_epi16(_mm256_cvtepu8_epi16(exponents), 7);
  return _mm256_or_si256(high, _mm256_or_si256(_mm256_srli_epi16(byte, 1), _mm256_slli_epi16(byte, 15)));
}
/* Of 8 weights: of the lower half of `exponents`. */
TARGET static inline __m256i words_32(__m128i exponents, const uint8_t* bytes, const uint16_t* lows) {
  const __m256i high = _mm256_slli_epi32(_mm256_cvtepu8_epi32(exponents), 23);
  const __m256i byte = _mm256_slli_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)bytes)), 15);
  const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)lows));
  return _mm256_or_si256(_mm256_or_si256(high, byte),
                         _mm256_or_si256(_mm256_srli_epi32(low, 1), _mm256_slli_epi32(low, 31)));
}
TARGET static inline float sum_of(__m256 a, __m256 b) {
  float each[8], sum = 0;
  _mm256_storeu_ps(each, _mm256_add_ps(a, b));
  for (int k = 0; k < 8; ++k) sum += each[k];
  return sum;
}

TARGET static void decode_avx2_16(const uint8_t* codes, const uint8_t* bytes, const uint8_t* given,
                                  const uint8_t** escapes, int64_t last, uint16_t* out) {
  const __m128i table = _mm_loadu_si128((const __m128i*)given);
  for (int64_t k = 0; k < last; k += 16)
    _mm256_storeu_si256((__m256i*)(out + k), words_16(next_exponents(codes, table, k, escapes), bytes + k));
}
TARGET static void decode_avx2_32(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows,
                                  const uint8_t* given, const uint8_t** escapes, int64_t last, uint32_t* out) {
  const __m128i table = _mm_loadu_si128((const __m128i*)given);
  for (int64_t k = 0; k < last; k += 16) {
    const __m128i exponents = next_exponents(codes, table, k, escapes);
    _mm256_storeu_si256((__m256i*)(out + k), words_32(exponents, bytes + k, lows + k));
    const __m128i upper = _mm_unpackhi_epi64(exponents, exponents);
    _mm256_storeu_si256((__m256i*)(out + k + 8), words_32(upper, bytes + k + 8, lows + k + 8));
  }
}

/* first is even, and last - first a multiple of 16. */
TARGET static float dot_avx2_16(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows, const uint8_t* given,
                                const uint8_t** escapes, int64_t first, int64_t last, const float* x) {
  const __m128i table = _mm_loadu_si128((const __m128i*)given);
  __m256 sum = _mm256_setzero_ps(), other = sum;
  (void)lows;
  for (int64_t k = first; k < last; k += 16, x += 16) {
    const __m256i words = words_16(next_exponents(codes, table, k, escapes), bytes + k);
    const __m256i low = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(words)), 16);
    const __m256i high = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(words, 1)), 16);
    sum = _mm256_fmadd_ps(_mm256_castsi256_ps(low), _mm256_loadu_ps(x), sum);
    other = _mm256_fmadd_ps(_mm256_castsi256_ps(high), _mm256_loadu_ps(x + 8), other);
  }
  return sum_of(sum, other);
}
TARGET static float dot_avx2_32(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows, const uint8_t* given,
                                const uint8_t** escapes, int64_t first, int64_t last, const float* x) {
  const __m128i table = _mm_loadu_si128((const __m128i*)given);
  __m256 sum = _mm256_setzero_ps(), other = sum;
  for (int64_t k = first; k < last; k += 16, x += 16) {
    const __m128i exponents = next_exponents(codes, table, k, escapes);
    const __m256i low = words_32(exponents, bytes + k, lows + k);
    const __m256i high = words_32(_mm_unpackhi_epi64(exponents, exponents), bytes + k + 8, lows + k + 8);
    sum = _mm256_fmadd_ps(_mm256_castsi256_ps(low), _mm256_loadu_ps(x), sum);
    other = _mm256_fmadd_ps(_mm256_castsi256_ps(high), _mm256_loadu_ps(x + 8), other);
  }
  return sum_of(sum, other);
}
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
static int has_avx2(void) { return 0; }
#define decode_avx2_16(codes, bytes, table, escapes, last, out) plain_16(codes, bytes, table, escapes, 0, last, out)
#define decode_avx2_32(codes, bytes, lows, table, escapes, last, out) \
  plain_32(codes, bytes, lows, table, escapes, 0, last, out)
#define dot_avx2_16 plain_dot_16
#define dot_avx2_32 plain_dot_32
#endif

/* table: 16 bytes. lows: of 32 bits only. */
int64_t decode_16(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows, const uint8_t* table,
                  const uint8_t* escapes, int64_t n, uint16_t* out) {
  const int64_t many = has_avx2() ? n & ~(int64_t)15 : 0;
  (void)lows;
  if (many) decode_avx2_16(codes, bytes, table, &escapes, many, out);
  plain_16(codes, bytes, table, &escapes, many, n, out);
  return 0;
}
int64_t decode_32(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows, const uint8_t* table,
                  const uint8_t* escapes, int64_t n, uint32_t* out) {
  const int64_t many = has_avx2() ? n & ~(int64_t)15 : 0;
  if (many) decode_avx2_32(codes, bytes, lows, table, &escapes, many, out);
  plain_32(codes, bytes, lows, table, &escapes, many, n, out);
  return 0;
}

/* A row that begins at an odd weight is multiplied one weight first. */
#define PRODUCT(BITS)                                                                                               \
  int64_t product_##BITS(const uint8_t* codes, const uint8_t* bytes, const uint16_t* lows, const uint8_t* table,    \
                         const uint8_t* escapes, int64_t rows, int64_t columns, const float* x, float* y) {         \
    const int fast = has_avx2();                                                                                    \
    for (int64_t row = 0; row < rows; ++row) {                                                                      \
      const int64_t first = row * columns, last = first + columns;                                                  \
      const int64_t even = fast && columns ? first + (first & 1) : first;                                           \
      const int64_t many = fast ? even + ((last - even) & ~(int64_t)15) : first;                                    \
      float sum = plain_dot_##BITS(codes, bytes, lows, table, &escapes, first, even, x);                            \
      if (even < many) sum += dot_avx2_##BITS(codes, bytes, lows, table, &escapes, even, many, x + (even - first)); \
      y[row] = sum + plain_dot_##BITS(codes, bytes, lows, table, &escapes, many, last, x + (many - first));         \
    }                                                                                                               \
    return 0;                                                                                                       \
  }

PRODUCT(16)
PRODUCT(32)
