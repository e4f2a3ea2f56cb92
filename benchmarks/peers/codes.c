/* Symbols to Huffman codes and back (codes.h). */
#include "codes.h"

#include <stdlib.h>

/* out: room for all codes and 8 bytes. Returns the bytes. */
int64_t encode(const uint16_t* symbols, int64_t n, const uint8_t* lengths, const uint16_t* order, int64_t count,
               int64_t alphabet, uint8_t* out) {
  uint64_t* codes = malloc(8 * (size_t)(count + 1));
  uint64_t* by_symbol = malloc(8 * (size_t)(alphabet + 1));
  canonical(lengths, order, count, codes);
  for (int64_t i = 0; i < count; ++i) by_symbol[order[i]] = codes[i];
  uint8_t* start = out;
  uint64_t word = 0;
  int filled = 0; /* below 8 before a symbol */
  for (int64_t k = 0; k < n; ++k) {
    const int length = lengths[symbols[k]];
    if (length) word |= by_symbol[symbols[k]] << (64 - filled - length);
    filled += length;
    const uint64_t turned = __builtin_bswap64(word);
    memcpy(out, &turned, 8);
    out += filled >> 3;
    word = filled < 64 ? word << (filled & ~7) : 0;
    filled &= 7;
  }
  if (filled) *out++ = (uint8_t)(word >> 56);
  free(codes);
  free(by_symbol);
  return out - start;
}

int64_t decode(const uint8_t* in, int64_t n, const uint8_t* lengths, const uint16_t* order, int64_t count,
               uint16_t* out) {
  Decoder* decoder = malloc(sizeof(Decoder));
  uint64_t* codes = malloc(8 * (size_t)(count + 1));
  make_decoder(lengths, order, count, codes, decoder);
  Reader reader = reader_at(in);
  for (int64_t k = 0; k < n; ++k) out[k] = (uint16_t)take(decoder, &reader);
  free(codes);
  free(decoder);
  return 0;
}
