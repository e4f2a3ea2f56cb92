/* Weights of Deep Compression from their two streams of Huffman codes (codes.h): gaps, and indices into the codebook.
 */
#include <stdlib.h>

#include "codes.h"

#define DECODE(WORD, BITS)                                                                                             \
  int64_t decode_##BITS(const uint8_t* gaps, const uint8_t* gap_lengths, const uint16_t* gap_order, int64_t gap_count, \
                        const uint8_t* codes, const uint8_t* lengths, const uint16_t* order, int64_t count,            \
                        int64_t entries, const WORD* codebook, WORD* out) {                                            \
    Decoder* decoders = malloc(2 * sizeof(Decoder));                                                                   \
    uint64_t* room = malloc(8 * (size_t)(gap_count + count + 1));                                                      \
    make_decoder(gap_lengths, gap_order, gap_count, room, decoders);                                                   \
    make_decoder(lengths, order, count, room, decoders + 1);                                                           \
    Reader of_gaps = reader_at(gaps), of_codes = reader_at(codes);                                                     \
    for (int64_t k = 0; k < entries; ++k) {                                                                            \
      out += take(decoders, &of_gaps);                                                                                 \
      *out++ = codebook[take(decoders + 1, &of_codes)];                                                                \
    }                                                                                                                  \
    free(room);                                                                                                        \
    free(decoders);                                                                                                    \
    return 0;                                                                                                          \
  }

DECODE(uint8_t, 8)
DECODE(uint16_t, 16)
DECODE(uint32_t, 32)
DECODE(uint64_t, 64)
