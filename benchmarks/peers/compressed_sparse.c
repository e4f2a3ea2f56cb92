/* Compressed sparse rows and columns: values, indices of 16 or 32 bits, and 32-bit pointers to where each line begins.
 */
#include <stdint.h>

#include "clones.h"

/* A line is a row of `stride` weights whose neighbours are `step` apart, or a column. out is zero. */
#define DECODE(WORD, BITS, INDEX, INDEX_BITS)                                                              \
  int64_t decode_##BITS##_##INDEX_BITS(const WORD* values, const INDEX* indices, const uint32_t* pointers, \
                                       int64_t lines, int64_t stride, int64_t step, WORD* out) {           \
    for (int64_t line = 0; line < lines; ++line)                                                           \
      for (int64_t k = pointers[line]; k < pointers[line + 1]; ++k)                                        \
        out[line * stride + indices[k] * step] = values[k];                                                \
    return 0;                                                                                              \
  }

#define ROWS(VALUE, NAME, INDEX, INDEX_BITS)                                                                     \
  CLONES int64_t rows_##NAME##_##INDEX_BITS(const VALUE* values, const INDEX* indices, const uint32_t* pointers, \
                                            int64_t lines, const float* x, float* y) {                           \
    for (int64_t line = 0; line < lines; ++line) {                                                               \
      float sum = 0;                                                                                             \
      const int64_t first = pointers[line], last = pointers[line + 1];                                           \
      _Pragma("omp simd reduction(+ : sum)") for (int64_t k = first; k < last; ++k) sum +=                       \
          (float)values[k] * x[indices[k]];                                                                      \
      y[line] = sum;                                                                                             \
    }                                                                                                            \
    return 0;                                                                                                    \
  }

/* y is made zero first; a column adds to many of its elements. */
#define COLUMNS(VALUE, NAME, INDEX, INDEX_BITS)                                                                     \
  CLONES int64_t columns_##NAME##_##INDEX_BITS(const VALUE* values, const INDEX* indices, const uint32_t* pointers, \
                                               int64_t lines, const float* x, float* y, int64_t rows) {             \
    for (int64_t row = 0; row < rows; ++row) y[row] = 0;                                                            \
    for (int64_t line = 0; line < lines; ++line) {                                                                  \
      const int64_t first = pointers[line], last = pointers[line + 1];                                              \
      const float by = x[line];                                                                                     \
      _Pragma("omp simd") for (int64_t k = first; k < last; ++k) y[indices[k]] +=                                   \
          (float)values[k] * by; /* all differ */                                                                   \
    }                                                                                                               \
    return 0;                                                                                                       \
  }

#define EACH_INDEX(MAKE, TYPE, NAME) MAKE(TYPE, NAME, uint16_t, 16) MAKE(TYPE, NAME, uint32_t, 32)

EACH_INDEX(DECODE, uint8_t, 8)
EACH_INDEX(DECODE, uint16_t, 16)
EACH_INDEX(DECODE, uint32_t, 32)
EACH_INDEX(DECODE, uint64_t, 64)
EACH_INDEX(ROWS, float, float32)
EACH_INDEX(ROWS, int8_t, int8)
EACH_INDEX(COLUMNS, float, float32)
EACH_INDEX(COLUMNS, int8_t, int8)
