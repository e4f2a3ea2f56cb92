// Which table codes which row and column (grouping.py, which is the reference).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tersely::ans {

// classes: of each axis, empty for one without. counts: [tables][256], how often each symbol is coded by each table.
struct Groups {
  std::vector<std::vector<int8_t>> classes;
  int base = 0;
  std::vector<uint32_t> counts;
};

// Symbols of a walk: how large the words of each are, in 1/256 octave from 0 on, [256], and how often it occurs.
// raw: whether words have raw bits; zero: whether symbol 0 has none.
struct Grouped {
  const uint8_t* symbols;
  std::vector<int64_t> dims;
  const int16_t* sizes;
  std::span<const int64_t> often;
  bool raw, zero;
};

Groups group(const Grouped& given);

}  // namespace tersely::ans
