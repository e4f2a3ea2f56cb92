// Blocks of the storage tier (src/tersely/storage/ans): symbols by interleaved rANS, and words of symbols and raw bits.
#pragma once

#include <cstdint>

namespace tersely {

inline constexpr int kAnsLanes[] = {32, 64};  // of streams that kernels decode
inline constexpr int kAnsMaxLanes = 64;
inline constexpr int kAnsPrecision = 12;
inline constexpr uint32_t kAnsLowest = 1u << 16;
// An entry of a table, by slot: symbol | frequency << 8 | slot's distance from the symbol's first << 20.
inline constexpr int kAnsFrequencyShift = 8, kAnsDistanceShift = 20;

// Where decoding stands: states, and the words that follow.
struct AnsCursor {
  alignas(64) uint32_t states[kAnsMaxLanes];
  const uint16_t* words;
};

// How words come of symbols and raw bits. by_symbol: of each symbol, what it says of the word, [256] of the word's
// width; by_byte: the same, the lowest bytes of all, then those above them, [bytes][256]. A rotated word's raw bits
// begin with its sign. zero: symbol 0 has no raw bits. line: not negative where by_symbol[i] is by_symbol[0] +
// (i << line), so that nothing need be looked up. Lowest bits that are coded are a value of their own, whose lowest bit
// is the sign where low_rotated, and the rest is moved up by low_trim.
struct AnsWords {
  const void* by_symbol;
  const uint8_t* by_byte;
  int raw, trim;
  bool rotated, zero;
  int line = -1, low_trim = 0;
  bool low_rotated = false;
};

// A set of symbols: bit (symbol >> 4 & 7) of the byte of its lowest four bits, those from 128 on in the second half.
struct AnsSet {
  uint8_t rows[32] = {};
  void add(uint8_t symbol) { rows[row(symbol)] = static_cast<uint8_t>(rows[row(symbol)] | 1 << (symbol >> 4 & 7)); }
  bool has(uint8_t symbol) const { return rows[row(symbol)] >> (symbol >> 4 & 7) & 1; }
  static int row(uint8_t symbol) { return (symbol & 15) + (symbol >> 7) * 16; }
};

// Words of 1, 2, 4 and 8 bytes are 0, 1, 2, 3 in arrays of kernels.
struct AnsKernels {
  // By lanes: decodes up to `steps` steps of a symbol a lane, by its table of entries [tables][4096]; stops before a
  // step that could read words from `end` on. Returns how many were decoded. SAFE BECAUSE tables have been checked to
  // be below their number, and every entry is a symbol.
  int64_t (*decode[2])(const uint32_t* entries, const uint8_t* tables, int64_t steps, AnsCursor& cursor,
                       const uint16_t* end, uint8_t* symbols);
  // By lanes: encodes `steps` steps, the last one first, by frequency | begin << 16 of [tables][256] symbols. Words are
  // written before `end`, of which `steps` x lanes must be writable, 16 more than that too; returns the first of them.
  uint16_t* (*encode[2])(const uint32_t* coded, const uint8_t* tables, const uint8_t* symbols, int64_t steps,
                         uint32_t* states, uint16_t* end);
  // tables[i] = row + columns[i], no less than 0 and no more than last. SAFE BECAUSE columns are sums of at most five
  // classes, and row of one and a number below 16: there is no overflow.
  void (*tables)(const int8_t* columns, int64_t count, int row, int last, uint8_t* tables);
  // Raw bits of `groups` groups of 64 words, at their places in words: whole bytes at `low`, planes at `planes`.
  void (*unpack[4])(const AnsWords& words, const uint8_t* low, const uint8_t* planes, int64_t groups, void* raw);
  // The other way: raw bits of words, whole bytes to `low`, planes to `planes`.
  void (*pack[4])(const AnsWords& words, const void* from, int64_t groups, uint8_t* low, uint8_t* planes);
  // out[i] = what symbol i says ^ raw bits i ^ lowest bits i, of `groups` groups of 64 words. lowest: null where there
  // are none. Without `zero`.
  void (*join[4])(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* low,
                  const uint8_t* planes, int64_t groups, void* out);
  // The places of symbols of a set among `count` symbols (at most 65536), rising; returns how many there are.
  int64_t (*places)(const AnsSet& set, const uint8_t* symbols, int64_t count, uint16_t* places);
  // out[i] = what symbol i says | the next raw bits. Returns how many of these were used.
  int64_t (*combine[4])(const AnsWords& words, const uint8_t* symbols, int64_t count, const void* raw, void* out);
};

}  // namespace tersely
