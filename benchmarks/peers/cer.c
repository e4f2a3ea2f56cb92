/* Index lists of CER and CSER: of each row, and of each word that occurs in it but the most frequent one of the matrix,
   the columns in which it stands. `words` says which word a list is of; CER does without, because its lists are in
   order. */
#include <stdint.h>

#include "clones.h"

/* The index of the word of list `list` of a row whose first list is `first`. */
#define WORD_OF_LIST (words ? (int64_t)words[list] : list - first + 1)

#define DECODE(WORD, BITS, INDEX, POINTER, NAME)                                                                     \
  int64_t decode_##BITS##_##NAME(const WORD* table, const INDEX* columns, const POINTER* lists, const POINTER* rows, \
                                 const uint16_t* words, int64_t count, int64_t stride, WORD* out) {                  \
    for (int64_t k = 0; k < count * stride; ++k) out[k] = table[0];                                                  \
    for (int64_t row = 0; row < count; ++row, out += stride)                                                         \
      for (int64_t first = rows[row], list = first; list < rows[row + 1]; ++list)                                    \
        for (int64_t k = lists[list]; k < lists[list + 1]; ++k) out[columns[k]] = table[WORD_OF_LIST];               \
    return 0;                                                                                                        \
  }

/* A multiplication for each list: x of its columns is summed first. The most frequent word is multiplied by what is
   left of the sum of x. */
#define PRODUCT(INDEX, POINTER, NAME)                                                                                \
  CLONES int64_t product_##NAME(const float* table, const INDEX* columns, const POINTER* lists, const POINTER* rows, \
                                const uint16_t* words, int64_t count, int64_t stride, const float* x, float* y) {    \
    float total = 0;                                                                                                 \
    _Pragma("omp simd reduction(+ : total)") for (int64_t c = 0; c < stride; ++c) total += x[c];                     \
    for (int64_t row = 0; row < count; ++row) {                                                                      \
      float sum = 0, listed = 0;                                                                                     \
      for (int64_t first = rows[row], list = first; list < rows[row + 1]; ++list) {                                  \
        float part = 0;                                                                                              \
        const int64_t begin = lists[list], end = lists[list + 1];                                                    \
        if (end - begin < 16) {                                                                                      \
          for (int64_t k = begin; k < end; ++k) part += x[columns[k]];                                               \
        } else {                                                                                                     \
          _Pragma("omp simd reduction(+ : part)") for (int64_t k = begin; k < end; ++k) part += x[columns[k]];       \
        }                                                                                                            \
        if (begin < end) sum += table[WORD_OF_LIST] * part; /* an empty list of NaN adds nothing */                  \
        listed += part;                                                                                              \
      }                                                                                                              \
      y[row] = table[0] == 0 ? sum : sum + table[0] * (total - listed);                                              \
    }                                                                                                                \
    return 0;                                                                                                        \
  }

#define DECODE_8(...) DECODE(uint8_t, 8, __VA_ARGS__)
#define DECODE_16(...) DECODE(uint16_t, 16, __VA_ARGS__)
#define DECODE_32(...) DECODE(uint32_t, 32, __VA_ARGS__)
#define DECODE_64(...) DECODE(uint64_t, 64, __VA_ARGS__)
#define EACH_INDEX(MAKE)          \
  MAKE(uint16_t, uint16_t, 16_16) \
  MAKE(uint16_t, uint32_t, 16_32) MAKE(uint32_t, uint16_t, 32_16) MAKE(uint32_t, uint32_t, 32_32)

EACH_INDEX(DECODE_8)
EACH_INDEX(DECODE_16)
EACH_INDEX(DECODE_32)
EACH_INDEX(DECODE_64)
EACH_INDEX(PRODUCT)
