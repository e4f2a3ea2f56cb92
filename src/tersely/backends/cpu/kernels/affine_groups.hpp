// What kernels see of `affine`: 16 rows of a group of columns.
#pragma once

#include <cstdint>

namespace tersely {

// A weight is scales[row] x (number - zeros[row]). Groups of a segment follow each other as its chunks do.
struct alignas(64) AffineGroup {
  float scales[16];
  float zeros[16];
  int64_t chunks;
};

// The number that stands for -0.0 where a segment has any; no other weight has it then.
constexpr uint8_t kNegativeZero = 255;

}  // namespace tersely
