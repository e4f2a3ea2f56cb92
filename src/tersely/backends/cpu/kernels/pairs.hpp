// What kernels see of convolutions of bfloat16: pairs of columns, each product of which is one number of x by one of a
// weight, both bfloat16, and sums that are float32.
#pragma once

#include <cstdint>

#include "tersely/backends/cpu/kernels/convolution.hpp"

namespace tersely {

// All columns of one or two panels. Sums are float32; subnormal numbers of x, weights and sums count as zero.
struct PairBlock {
  const uint16_t* weights;  // [panel][pair][16][2]
  int64_t panel_stride;
  int panels;              // 1 or 2
  const int32_t* offsets;  // of each run from a pixel's x
  int64_t runs, run;       // pairs are runs x run; those of a run lie side by side
  const uint16_t* x;
  float* y;           // null: not wanted
  uint16_t* rounded;  // the same, rounded to bfloat16, at the same places; null: not wanted
  int64_t y_panel_stride;
  const float* scale;     // as of ConvolutionBlock
  const float* shift;     // likewise
  const float* residual;  // likewise
  int64_t residual_panel_stride;
  float low, high;
};

struct PairKernels {
  // y = least of `high` and greatest of `low` and (sum x scale + shift + residual); NaN stays. Memory of results is
  // that of no operand.
  void (*convolve)(const PairBlock& block, const PixelPlaces& places, int64_t pixels);
  // To bfloat16, to the nearest, ties to even; subnormal numbers to zero, NaN to NaN.
  void (*round)(const float* x, int64_t count, uint16_t* out);
};

}  // namespace tersely
