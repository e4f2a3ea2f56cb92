// A tile of words split into pieces, and the pieces written as streams: the back half of the encoder, shared by
// matrices (encode.cpp) and sequences (sequence.cpp). Everything is internal to the including file.
#pragma once

#include <cstring>
#include <type_traits>

#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/codes/words/split/encode.hpp"
#include "tersely/codes/words/split/planes.hpp"

namespace tersely {
namespace {

// The unsigned integer that holds a word.
template <DType D, int Bytes = kFields[static_cast<int>(D)].word_bytes>
using Word = std::conditional_t<Bytes == 4, uint32_t, std::conditional_t<Bytes == 2, uint16_t, uint8_t>>;

// Counts symbols in four histograms: neighbours are often equal and would wait for each other's store.
inline void count_symbols(const uint8_t* symbols, int64_t count, uint32_t* counts) {
  for (int64_t i = 0; i < count; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, symbols + i, 8);
    for (int k = 0; k < 8; ++k) ++counts[k % 4 * 256 + (eight >> (8 * k) & 255)];
  }
}

// Rank of each symbol; symbols outside the table have the table's length.
void symbol_ranks(const Parameters& p, uint8_t (&ranks)[256], int& length) {
  length = 0;
  uint8_t order[kMaximumLevels * 15];
  const int levels = p.code == SymbolCode::kLayered ? p.levels : 1;
  for (int level = 0; level < levels; ++level) {
    const int own = p.code == SymbolCode::kConstant ? 1
                    : p.code == SymbolCode::kPacked ? 15
                                                    : (1 << p.widths[level]) - 1;
    for (int i = 0; i < own; ++i) order[length++] = p.tables[level][i];
  }
  std::memset(ranks, length, 256);
  for (int i = length - 1; i >= 0; --i) ranks[order[i]] = static_cast<uint8_t>(i);
}

// Survivors of one segment, in order. Room for the group that is being added, and for padding to whole groups.
struct Survivors {
  uint8_t symbols[kSegmentWeights + 128];
  int64_t count = 0;
};

// Codes the deeper levels of a segment at their positions. Returns false where the positions do not fit.
bool write_levels(const Parameters& p, const KernelTable& table, const uint8_t (&ranks)[256], const MutableStreams& s,
                  int64_t segment, int columns, Survivors& survivors) {
  const uint64_t* entry = s.directory + segment * columns;
  const uint64_t* next = entry + columns;
  int start = (1 << p.widths[0]) - 1;
  for (int level = 1; level < p.levels; ++level) {
    const int width = p.widths[level], own = (1 << width) - 1;
    const int64_t groups = ceil_div(survivors.count, 64);
    if (groups != static_cast<int64_t>(next[level - 1] - entry[level - 1])) return false;
    std::memset(survivors.symbols + survivors.count, p.tables[level][0],
                static_cast<size_t>(groups * 64 - survivors.count));
    uint8_t* out = s.levels[level] + entry[level - 1] * 8 * width;
    const CodeLevel own_level{ranks, p.tables[level], start, own};
    survivors.count = 0;  // this level's survivors overwrite its symbols: they never pass the group that is coded
    for (int64_t g = 0; g < groups; ++g) {
      uint8_t group[64], fields[64];
      std::memcpy(group, survivors.symbols + g * 64, 64);
      survivors.count += table.code_group(group, own_level, fields, survivors.symbols + survivors.count);
      pack_planes(fields, width, out + g * 8 * width, 1);
    }
    start += own;
  }
  return true;
}

// Writes the pieces of one tile of c chunks and keeps its survivors; returns the position behind it.
template <DType D>
uint8_t* write_tile(const SplitTile& pieces, int64_t c, const Parameters& p, Tail tail, const KernelTable& table,
                    const uint8_t (&ranks)[256], uint8_t* out, Survivors& survivors) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  const CodeLevel first_level{ranks, p.tables[0], 0, p.code == SymbolCode::kLayered ? (1 << p.widths[0]) - 1 : 15};
  for (int64_t j = 0; j < c && p.code != SymbolCode::kConstant; ++j) {
    uint8_t fields[64];
    survivors.count += table.code_group(pieces.symbols[j], first_level, fields, survivors.symbols + survivors.count);
    if (p.code == SymbolCode::kPacked) {
      for (int i = 0; i < 32; ++i) out[j * 32 + i] = static_cast<uint8_t>(fields[i] | fields[i + 32] << 4);
    } else {
      pack_planes(fields, p.widths[0], out + j * 8, c);
    }
  }
  out += c * p.code_bytes;
  if (f.odd_count > 0) {
    for (int64_t j = 0; j < c; ++j) pack_planes(pieces.odd[j], f.odd_count, out + j * 8, c);
    out += c * 8 * f.odd_count;
  }
  if (f.has_byte && !p.byte_is_constant) {
    std::memcpy(out, pieces.bytes, static_cast<size_t>(c) * 64);
    out += c * 64;
  }
  if (tail == Tail::kWord) {
    std::memcpy(out, pieces.tails, static_cast<size_t>(c) * 128);
    out += c * 128;
  } else if (tail == Tail::kBits3) {
    for (int64_t j = 0; j < c; ++j) {
      uint8_t bits[64];
      for (int i = 0; i < 64; ++i) bits[i] = static_cast<uint8_t>(pieces.tails[j][i] >> 13);
      pack_planes(bits, 3, out + j * 8, c);
    }
    out += c * 24;
  }
  return out;
}

// Writes what a segment's tiles have left over; returns null, or the component whose size does not fit.
const char* finish_segment(const Parameters& p, const KernelTable& table, const uint8_t (&ranks)[256],
                           const MutableStreams& s, int64_t segment, Survivors& survivors) {
  if (p.code == SymbolCode::kConstant) return nullptr;
  const int columns = p.code == SymbolCode::kPacked ? 1 : p.levels;
  const bool fits = p.code != SymbolCode::kLayered || write_levels(p, table, ranks, s, segment, columns, survivors);
  const uint64_t* entry = s.directory + segment * columns + (columns - 1);
  const int64_t count = survivors.count;
  survivors.count = 0;
  if (!fits) return "directory";
  if (count != static_cast<int64_t>(entry[columns] - entry[0])) return "escapes";
  if (count > 0) std::memcpy(s.escapes + entry[0], survivors.symbols, static_cast<size_t>(count));
  return nullptr;
}

}  // namespace
}  // namespace tersely
