// What a block of words says before its streams; see description.py, whose syntax this is.
#pragma once

#include <cstdint>
#include <vector>

#include "tersely/storage/ans/binary.hpp"

namespace tersely::ans {

inline constexpr int kPrecision = 12, kMaxSymbols = 256, kMaxTables = 16, kMaxPalette = 4096, kMaxAxes = 6;
inline constexpr int kMaxExtra = 24, kMaxLow = 8, kClassBits = 5, kClassZero = 16, kFinest = 16;
inline constexpr int64_t kStreamSymbols = 1 << 18, kGroup = 64;

struct Stream {
  int64_t words = 0, low = 0, kept = 0, extra = 0;
};

// Members as in description.py. logs: [tables][symbols], low_logs: [2^low]. classes: empty for an axis without.
struct Description {
  int lanes = 32, trim = 0, raw = 0, low = 0;
  bool zero = false;
  std::vector<uint64_t> palette, starts;
  std::vector<uint8_t> extras;
  std::vector<int64_t> dims;
  std::vector<std::vector<int8_t>> classes;
  int base = 0, steps = 16, tables = 0;
  std::vector<uint8_t> logs, low_logs;
  std::vector<Stream> streams;

  int symbols() const { return static_cast<int>(starts.size()); }
  bool several() const { return starts.size() > 1; }
  bool wide() const {
    for (const uint8_t extra : extras)
      if (extra != 0) return true;
    return false;
  }
};

// Throws for a description that cannot be said: the plan that it is of is wrong.
void describe(Writer& writer, Description& d, int64_t count, int word_bits);
// Fills d in; returns what is wrong, null for nothing.
const char* describe(Reader& reader, Description& d, int64_t count, int word_bits);

// The frequencies of a table, [symbols], of its logarithms in 1/steps.
std::vector<uint32_t> frequencies(const uint8_t* logs, int symbols, int steps);

// Which table codes each symbol of a walk, row after row of the last axes.
class TableWalk {
 public:
  explicit TableWalk(const Description& d);
  // Tables of `count` words from number `first` on.
  void tables(int64_t first, int64_t count, uint8_t* out) const;
  int last() const { return last_; }

 private:
  std::vector<int8_t> columns_, rows_;
  int64_t length_;
  int base_, last_;
};

}  // namespace tersely::ans
