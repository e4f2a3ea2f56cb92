/* A bit for each weight, which says whether it is zero, and the others one after another. */
#include <stdint.h>
#include <string.h>

/* 32 bits from a position on; 8 bytes can be read past the last one. */
static inline uint32_t bits_at(const uint8_t* bits, int64_t position) {
  uint64_t word;
  memcpy(&word, bits + (position >> 3), 8);
  return (uint32_t)(word >> (position & 7));
}

/* out is zero. */
#define DECODE(WORD, BITS)                                                                                     \
  int64_t decode_##BITS(const uint8_t* bits, const WORD* values, int64_t n, WORD* out) {                       \
    for (int64_t k = 0; k < n; k += 32)                                                                        \
      for (uint32_t left = bits_at(bits, k); left; left &= left - 1) out[k + __builtin_ctz(left)] = *values++; \
    return 0;                                                                                                  \
  }

DECODE(uint8_t, 8)
DECODE(uint16_t, 16)
DECODE(uint32_t, 32)
DECODE(uint64_t, 64)

#define PLAIN(VALUE, NAME)                                                                                             \
  static void plain_##NAME(const uint8_t* bits, const VALUE* values, int64_t rows, int64_t columns, const float* x,    \
                           float* y) {                                                                                 \
    for (int64_t row = 0; row < rows; ++row) {                                                                         \
      float sum[2] = {0, 0};                                                                                           \
      for (int64_t c = 0; c < columns; c += 32) {                                                                      \
        uint32_t left = bits_at(bits, row * columns + c);                                                              \
        if (columns - c < 32) left &= (1u << (columns - c)) - 1;                                                       \
        for (int odd = 0; left; left &= left - 1, odd ^= 1) sum[odd] += (float)*values++ * x[c + __builtin_ctz(left)]; \
      }                                                                                                                \
      y[row] = sum[0] + sum[1];                                                                                        \
    }                                                                                                                  \
  }

PLAIN(float, float32)
PLAIN(int8_t, int8)

#ifdef __x86_64__
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,popcnt")))

/* The values of 32 weights, zeros too. They are loaded, up to 128 bytes past the last one, and then expanded: from
   memory that takes microcode on some processors. The empty instructions keep the compiler from joining the two. */
TARGET static inline void next_float32(const float* values, uint32_t mask, __m512* low, __m512* high) {
  __m512 first = _mm512_loadu_ps(values), second = _mm512_loadu_ps(values + __builtin_popcount(mask & 0xffff));
  __asm__("" : "+v"(first), "+v"(second));
  *low = _mm512_maskz_expand_ps((__mmask16)mask, first);
  *high = _mm512_maskz_expand_ps((__mmask16)(mask >> 16), second);
}
TARGET static inline __m512 floats_of(const int8_t* values) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)values)));
}
TARGET static inline void next_int8(const int8_t* values, uint32_t mask, __m512* low, __m512* high) {
  *low = _mm512_maskz_expand_ps((__mmask16)mask, floats_of(values));
  *high = _mm512_maskz_expand_ps((__mmask16)(mask >> 16), floats_of(values + __builtin_popcount(mask & 0xffff)));
}

#define EXPANDED(VALUE, NAME)                                                                                 \
  TARGET static void expanded_##NAME(const uint8_t* bits, const VALUE* values, int64_t rows, int64_t columns, \
                                     const float* x, float* y) {                                              \
    for (int64_t row = 0; row < rows; ++row) {                                                                \
      __m512 sum = _mm512_setzero_ps(), other = _mm512_setzero_ps(), low, high;                               \
      int64_t at = row * columns, c = 0;                                                                      \
      for (; c + 32 <= columns; c += 32, at += 32) {                                                          \
        const uint32_t mask = bits_at(bits, at);                                                              \
        next_##NAME(values, mask, &low, &high);                                                               \
        sum = _mm512_fmadd_ps(low, _mm512_loadu_ps(x + c), sum);                                              \
        other = _mm512_fmadd_ps(high, _mm512_loadu_ps(x + c + 16), other);                                    \
        values += __builtin_popcount(mask);                                                                   \
      }                                                                                                       \
      if (c < columns) {                                                                                      \
        const uint32_t there = (1u << (columns - c)) - 1, mask = bits_at(bits, at) & there;                   \
        next_##NAME(values, mask, &low, &high);                                                               \
        sum = _mm512_fmadd_ps(low, _mm512_maskz_loadu_ps((__mmask16)there, x + c), sum);                      \
        other = _mm512_fmadd_ps(high, _mm512_maskz_loadu_ps((__mmask16)(there >> 16), x + c + 16), other);    \
        values += __builtin_popcount(mask);                                                                   \
      }                                                                                                       \
      y[row] = _mm512_reduce_add_ps(_mm512_add_ps(sum, other));                                               \
    }                                                                                                         \
  }

EXPANDED(float, float32)
EXPANDED(int8_t, int8)

static int has_expand(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("popcnt"); }
#else
static int has_expand(void) { return 0; }
#define expanded_float32 plain_float32
#define expanded_int8 plain_int8
#endif

#define PRODUCT(VALUE, NAME)                                                                                      \
  int64_t product_##NAME(const uint8_t* bits, const VALUE* values, int64_t rows, int64_t columns, const float* x, \
                         float* y) {                                                                              \
    (has_expand() ? expanded_##NAME : plain_##NAME)(bits, values, rows, columns, x, y);                           \
    return 0;                                                                                                     \
  }

PRODUCT(float, float32)
PRODUCT(int8_t, int8)
