// What the kernels of pooling see: windows of pixels of 16 channels side by side.
#pragma once

#include <cstdint>

namespace tersely {

// rows x columns pixels, rows `row` floats apart, columns `column`; at least one of each.
struct PoolWindow {
  const float* x;
  int64_t row, column, rows, columns;
};

struct PoolKernels {
  // The greatest value of each channel; NaN where there is one.
  void (*greatest)(const PoolWindow& window, float* y);
  // Sums of each channel, times `factor`.
  void (*mean)(const PoolWindow& window, float factor, float* y);
};

}  // namespace tersely
