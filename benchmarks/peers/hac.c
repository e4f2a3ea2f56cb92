/* Matrices whose words are Huffman codes in one stream (codes.h), row by row: all of them (HAC), or those that are not
   zero, with their column indices (sHAC). Products go through the stream as it is. */
#include <stdlib.h>

#include "codes.h"

#define BEGIN                                         \
  Decoder* decoder = malloc(sizeof(Decoder));         \
  uint64_t* room = malloc(8 * (size_t)(count + 1));   \
  make_decoder(lengths, order, count, room, decoder); \
  Reader reader = reader_at(stream);
#define END      \
  free(room);    \
  free(decoder); \
  return 0;
#define CODE const uint8_t *stream, const uint8_t *lengths, const uint16_t *order, int64_t count

#define DECODE(WORD, BITS)                                                  \
  int64_t decode_##BITS(CODE, const WORD* table, int64_t n, WORD* out) {    \
    BEGIN                                                                   \
    for (int64_t k = 0; k < n; ++k) out[k] = table[take(decoder, &reader)]; \
    END                                                                     \
  }

/* out is zero. */
#define SPARSE_DECODE(WORD, BITS, INDEX, INDEX_BITS)                                                                   \
  int64_t sparse_decode_##BITS##_##INDEX_BITS(CODE, const WORD* table, const INDEX* indices, const uint32_t* pointers, \
                                              int64_t rows, int64_t columns, WORD* out) {                              \
    BEGIN                                                                                                              \
    for (int64_t row = 0; row < rows; ++row)                                                                           \
      for (int64_t k = pointers[row]; k < pointers[row + 1]; ++k)                                                      \
        out[row * columns + indices[k]] = table[take(decoder, &reader)];                                               \
    END                                                                                                                \
  }

#define EACH_INDEX(WORD, BITS) \
  DECODE(WORD, BITS) SPARSE_DECODE(WORD, BITS, uint16_t, 16) SPARSE_DECODE(WORD, BITS, uint32_t, 32)

EACH_INDEX(uint8_t, 8)
EACH_INDEX(uint16_t, 16)
EACH_INDEX(uint32_t, 32)
EACH_INDEX(uint64_t, 64)

int64_t product(CODE, const float* table, int64_t rows, int64_t columns, const float* x, float* y) {
  BEGIN
  for (int64_t row = 0; row < rows; ++row) {
    float sum = 0;
    for (int64_t c = 0; c < columns; ++c) sum += table[take(decoder, &reader)] * x[c];
    y[row] = sum;
  }
  END
}

#define SPARSE_PRODUCT(INDEX, INDEX_BITS)                                                                       \
  int64_t sparse_product_##INDEX_BITS(CODE, const float* table, const INDEX* indices, const uint32_t* pointers, \
                                      int64_t rows, const float* x, float* y) {                                 \
    BEGIN                                                                                                       \
    for (int64_t row = 0; row < rows; ++row) {                                                                  \
      float sum = 0;                                                                                            \
      for (int64_t k = pointers[row]; k < pointers[row + 1]; ++k)                                               \
        sum += table[take(decoder, &reader)] * x[indices[k]];                                                   \
      y[row] = sum;                                                                                             \
    }                                                                                                           \
    END                                                                                                         \
  }

SPARSE_PRODUCT(uint16_t, 16)
SPARSE_PRODUCT(uint32_t, 32)
