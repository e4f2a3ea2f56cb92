// Blocks of words (docs/FORMAT.md, storage): what reference.py does, by kernels and threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tersely/storage/ans/description.hpp"

namespace tersely::ans {

// Words of 1, 2, 4 or 8 bytes; rotated: floats, whose sign is turned to the lowest bit.
struct WordType {
  int bytes;
  bool rotated;
  int bits() const { return 8 * bytes; }
  int index() const { return bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3; }
};

// A word's value, and back: without trimmed bits, the sign below the rest.
inline uint64_t value_of(uint64_t word, int trim, WordType type) {
  if (!type.rotated) return word >> trim;
  const int top = type.bits() - 1;
  return (word & ((uint64_t{1} << top) - 1)) >> trim << 1 | word >> top;
}
inline uint64_t word_of(uint64_t value, int trim, WordType type) {
  return type.rotated ? value >> 1 << trim | (value & 1) << (type.bits() - 1) : value << trim;
}

// Entries [tables][4096] of kernels/ans.hpp.
std::vector<uint32_t> decoding_entries(const std::vector<uint8_t>& logs, int symbols, int steps);

// A stream lies somewhere in a buffer: its words are coded from the last to the first.
struct EncodedStream {
  std::unique_ptr<uint8_t[]> buffer;
  uint8_t *begin = nullptr, *end = nullptr;
};

// A block in pieces, so that it is copied only once: to where it shall be.
struct EncodedBlock {
  std::vector<uint8_t> description;
  std::vector<EncodedStream> streams;
  size_t size() const;
  void write(uint8_t* out) const;
};

// Codes `count` words, whose symbols are those of d; d's streams are filled in.
EncodedBlock encode(const uint8_t* words, const uint8_t* symbols, int64_t count, WordType type, Description& d,
                    int threads);

// Decodes a block of `count` words; returns what is wrong with it, "" for nothing. Allocates its tables, and for each
// worker a constant.
std::string decode(const uint8_t* block, int64_t size, int64_t count, WordType type, uint8_t* out, int threads);

}  // namespace tersely::ans
