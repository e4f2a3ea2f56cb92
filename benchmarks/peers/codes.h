/* Canonical Huffman codes of up to 2^16 symbols, the highest bit first: one look into a table for codes of up to 12
   bits, and for longer ones a comparison for each length. Codes of no bits are allowed: an alphabet of one symbol. */
#include <stdint.h>
#include <string.h>

enum { kTableBits = 12, kMaxBits = 56, kLong = 255 };

typedef struct {
  uint32_t table[1 << kTableBits]; /* symbol, and the length of its code below; kLong where the code is longer */
  uint64_t end[kMaxBits + 1];      /* the first word, filled up with zeros, that no code of this length begins */
  int64_t shift[kMaxBits + 1];     /* from a code to its index in `order` */
  const uint16_t* order;
  int max_bits;
} Decoder;

/* Calls each code of a canonical order; lengths: by symbol; order: symbols by length. Returns the longest length. */
static int canonical(const uint8_t* lengths, const uint16_t* order, int64_t count, uint64_t* codes) {
  uint64_t code = 0;
  int before = count ? lengths[order[0]] : 0;
  for (int64_t i = 0; i < count; ++i) {
    const int length = lengths[order[i]];
    code <<= length - before;
    codes[i] = code++;
    before = length;
  }
  return before;
}

/* codes: room for `count` of them. */
static void make_decoder(const uint8_t* lengths, const uint16_t* order, int64_t count, uint64_t* codes, Decoder* made) {
  made->order = order;
  made->max_bits = canonical(lengths, order, count, codes);
  for (int i = 0; i < 1 << kTableBits; ++i) made->table[i] = kLong;
  for (int i = 0; i <= kMaxBits; ++i) made->end[i] = 0, made->shift[i] = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int length = lengths[order[i]];
    if (length <= kTableBits) {
      const uint64_t first = codes[i] << (kTableBits - length);
      for (uint64_t k = 0; k < 1u << (kTableBits - length); ++k)
        made->table[first + k] = (uint32_t)order[i] << 8 | (uint32_t)length;
    } else {
      made->end[length] = length < made->max_bits ? (codes[i] + 1) << (64 - length) : ~(uint64_t)0;
      made->shift[length] = i - (int64_t)codes[i];
    }
  }
}

typedef struct {
  const uint8_t* from;
  uint64_t word; /* what comes next, from its highest bit on */
  int filled;
} Reader;

static inline Reader reader_at(const uint8_t* from) { return (Reader){from, 0, 0}; }

/* 56 bits at least; reads up to 8 bytes past the last code. */
static inline void refill(Reader* reader) {
  uint64_t next;
  memcpy(&next, reader->from, 8);
  reader->word |= __builtin_bswap64(next) >> reader->filled;
  reader->from += (63 - reader->filled) >> 3;
  reader->filled |= 56;
}

static inline uint32_t take(const Decoder* decoder, Reader* reader) {
  if (reader->filled < decoder->max_bits) refill(reader);
  const uint32_t entry = decoder->table[reader->word >> (64 - kTableBits)];
  int length = entry & 255;
  uint32_t symbol = entry >> 8;
  if (__builtin_expect(length == kLong, 0)) {
    for (length = kTableBits + 1; length < decoder->max_bits && reader->word >= decoder->end[length];) ++length;
    symbol = decoder->order[decoder->shift[length] + (int64_t)(reader->word >> (64 - length))];
  }
  reader->word <<= length;
  reader->filled -= length;
  return symbol;
}
