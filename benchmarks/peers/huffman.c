/* Canonical Huffman codes of bytes, at most 12 bits long: four interleaved streams, decoded by one look into a table. */
#include <stdint.h>
#include <string.h>

enum { kBits = 12, kStreams = 4 };

static void starts(const uint8_t* lengths, uint32_t* codes) {
  uint32_t count[kBits + 2] = {0}, next[kBits + 2] = {0};
  for (int s = 0; s < 256; ++s) ++count[lengths[s]];
  count[0] = 0;
  for (int n = 1; n <= kBits; ++n) next[n + 1] = (next[n] + count[n]) << 1;
  for (int s = 0; s < 256; ++s) {
    if (!lengths[s]) continue;
    uint32_t code = next[lengths[s]]++, turned = 0;
    for (int b = 0; b < lengths[s]; ++b) turned |= ((code >> b) & 1) << (lengths[s] - 1 - b);
    codes[s] = turned; /* the first bit of a code is its lowest: streams are read from the low end of words */
  }
}

/* Each stream holds a quarter of the bytes; out has room for 2 bytes a byte and 16. sizes: of the streams. */
void encode(const uint8_t* in, int64_t n, const uint8_t* lengths, uint8_t* out, int64_t* sizes) {
  uint32_t codes[256] = {0};
  starts(lengths, codes);
  const int64_t quarter = (n + kStreams - 1) / kStreams;
  for (int s = 0; s < kStreams; ++s) {
    int64_t first = s * quarter < n ? s * quarter : n, last = first + quarter < n ? first + quarter : n;
    uint8_t* start = out;
    uint64_t word = 0;
    int filled = 0;
    for (int64_t k = first; k < last; ++k) {
      word |= (uint64_t)codes[in[k]] << filled;
      filled += lengths[in[k]];
      if (filled >= 32) {
        uint32_t low = (uint32_t)word;
        memcpy(out, &low, 4);
        out += 4, word >>= 32, filled -= 32;
      }
    }
    for (; filled > 0; filled -= 8, word >>= 8) *out++ = (uint8_t)word;
    sizes[s] = out - start;
  }
}

/* in: the streams, then 8 bytes that are never used up. */
void decode(const uint8_t* in, const int64_t* sizes, int64_t n, const uint8_t* lengths, uint8_t* out) {
  uint32_t codes[256] = {0};
  uint16_t table[1 << kBits] = {0}; /* symbol, and its length above */
  starts(lengths, codes);
  for (int s = 0; s < 256; ++s)
    if (lengths[s])
      for (uint32_t code = codes[s]; code < 1u << kBits; code += 1u << lengths[s])
        table[code] = (uint16_t)(s | lengths[s] << 8);
  const int64_t quarter = (n + kStreams - 1) / kStreams;
  const uint8_t* from[kStreams];
  uint64_t word[kStreams];
  int used[kStreams];
  for (int s = 0; s < kStreams; ++s) {
    from[s] = s ? from[s - 1] + sizes[s - 1] : in;
    used[s] = 0;
  }
  int64_t k = 0;
  const int64_t whole = n - (kStreams - 1) * quarter; /* the last stream is the shortest */
  for (; k + 4 <= whole; k += 4) {
    for (int s = 0; s < kStreams; ++s) {
      from[s] += used[s] >> 3, used[s] &= 7;
      memcpy(&word[s], from[s], 8);
      word[s] >>= used[s];
    }
    for (int j = 0; j < 4; ++j)
      for (int s = 0; s < kStreams; ++s) {
        uint16_t entry = table[word[s] & ((1 << kBits) - 1)];
        out[s * quarter + k + j] = (uint8_t)entry;
        word[s] >>= entry >> 8, used[s] += entry >> 8;
      }
  }
  for (int s = 0; s < kStreams; ++s) {
    int64_t first = s * quarter + k, last = (s + 1) * quarter < n ? (s + 1) * quarter : n;
    for (; first < last; ++first) {
      uint64_t last_word;
      from[s] += used[s] >> 3, used[s] &= 7;
      memcpy(&last_word, from[s], 8);
      uint16_t entry = table[(last_word >> used[s]) & ((1 << kBits) - 1)];
      out[first] = (uint8_t)entry;
      used[s] += entry >> 8;
    }
  }
}
