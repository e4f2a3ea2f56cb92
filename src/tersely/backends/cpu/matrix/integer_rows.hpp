// What a product of integers takes beside the weights.
#pragma once

#include "tersely/backends/cpu/kernels/layout.hpp"

namespace tersely {

// Rows in and out of a product of 8-bit weights w: out = scale (w - zero) x + bias.
struct IntegerRows {
  bool is_int8;  // x is int8 and out int32; else both are `dtype`
  DType dtype;   // float32, bfloat16 or float16
  int64_t batch;
  const void* x;        // [batch][columns]
  const void* bias;     // int32 or float [rows], or null
  const double* scale;  // [rows] or, with scale_step 0, one
  const int32_t* zero;  // likewise
  int64_t scale_step, zero_step;
  void* out;  // [batch][rows]
  // Also false where the largest |x| of a row is over this many times the mean of the others, 0: whatever it is.
  // Weights that are floats to their owner are to be multiplied as well as floats are, and small x beside such an x
  // would lose bits.
  int64_t max_peak = 0;
  // Groups of neighbouring columns, equally many each, have scales and zeros of their own where the distance from one
  // group's to the next one's is 1, in [rows][groups], and those of their row where it is 0.
  int64_t groups = 1, scale_group = 0, zero_group = 0;
  // The columns of x that the weights have, ascending, where those that are left out have weights of zero; null: all. x
  // is then [batch][x_columns], and it is rounded and its zero points are taken off as if no column were left out.
  const int64_t* picked = nullptr;
  int64_t x_columns = 0;
  // Where not null, what rows that are left out need is written there, too: [batch] sums of the integers of x, and the
  // powers of two that they count.
  int64_t* x_sums = nullptr;
  double* x_units = nullptr;
};

}  // namespace tersely
