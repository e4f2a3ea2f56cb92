// A tensor between two operators of a network: where it lies in the arena, and how.
#pragma once

#include <vector>

#include "tersely/backends/cpu/network/image.hpp"

namespace tersely {

struct Value {
  int64_t at = 0;  // in floats from the arena's beginning, a multiple of 16
  int64_t images = 0;
  ImageLayout layout{};
  bool bytes = false;  // numbers are bytes (kernels/quantised.hpp), else float32
  bool words = false;  // numbers are bfloat16 (kernels/pairs.hpp)
  // Of a loop's steps (program.hpp): a value that has a place of its own for each turn, `each` floats from one to the
  // next. `images` are those of one turn.
  int64_t turns = 1, each = 0;

  int64_t number_bytes() const { return bytes ? 1 : words ? 2 : 4; }
  int64_t numbers() const { return images * layout.floats(); }
  // Of memory, whatever is in it.
  int64_t floats() const { return (numbers() * number_bytes() + 3) / 4; }
  // Of memory of all turns, from the first one's beginning to the last one's end.
  int64_t extent() const { return (turns - 1) * each + floats(); }
};

inline bool overlap(const Value& a, const Value& b) { return a.at < b.at + b.extent() && b.at < a.at + a.extent(); }

}  // namespace tersely
