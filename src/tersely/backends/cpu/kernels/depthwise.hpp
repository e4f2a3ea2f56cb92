// What the kernel of depthwise convolutions sees: 16 channels side by side, each with taps of its own, along one row of
// the image. Sums are of `rows` x `columns` taps; nothing is shared between channels, so pixels go through registers
// and weights stay in the first-level cache.
#pragma once

#include <cstdint>

namespace tersely {

struct DepthwiseRow {
  const float* weights;     // [rows][columns][16]
  int64_t rows, columns;    // of taps
  const float* x;           // what the first pixel's first tap reads
  int64_t x_step;           // floats from one pixel's to the next one's
  int64_t x_row, x_column;  // floats from one tap to the next
  const float* scale;       // [16]; null: 1
  const float* shift;       // [16]; null: 0
  const float* residual;    // [pixels][16]; null: 0
  float low, high;          // y = least of `high` and greatest of `low` and the rest; NaN stays
};
// y: [pixels][16]; its memory is not that of x.
using Depthwise = void (*)(const DepthwiseRow& row, float* y, int64_t pixels);

}  // namespace tersely
