// Which table codes which row and column (grouping.py, which is the reference).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tersely::ans {

// classes: of each axis, empty for one without. counts: [tables][256], how often each symbol is coded by each table.
// logs: [tables][symbols], logarithms of their shares in 1/steps as a description says them.
struct Groups {
  std::vector<std::vector<int8_t>> classes;
  int base = 0, steps = 0;
  std::vector<uint32_t> counts;
  std::vector<uint8_t> logs;
};

// Symbols of a walk: how large the words of each are, in 1/256 octave, and how often it occurs. first_is_zero: whether
// symbol 0 is the word 0. raw: whether words have raw bits; zero: whether symbol 0 has none.
struct Grouped {
  const uint8_t* symbols;
  std::vector<int64_t> dims;
  std::span<const int64_t> sizes, often;
  bool first_is_zero, raw, zero;
};

Groups group(const Grouped& given);

}  // namespace tersely::ans
