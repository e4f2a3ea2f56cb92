// Where values are cut into symbols and raw bits: the smallest way (cuts.py, which is the reference).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tersely::ans {

struct Cut {
  int raw = 0;
  bool zero = false;
  std::vector<uint64_t> starts;
  std::vector<uint8_t> extras;
  std::vector<int64_t> often;
  int64_t bits = -1;  // in parts; -1: there is none
};

// What values begin with, above `finest` bits of `width`: those that occur, rising, and how often.
struct Heads {
  std::span<const uint64_t> values;
  std::span<const int64_t> counts;
  int finest, width;
  int64_t total, zeros;
};

// raws: rising, none less than heads.finest.
Cut best_cut(const Heads& heads, std::span<const int64_t> raws, bool floats);

}  // namespace tersely::ans
