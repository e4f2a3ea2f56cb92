// What a product takes beside the weights, and what becomes of its sums: the interface of whole networks.
#pragma once

#include "tersely/backends/cpu/kernels/layout.hpp"

namespace tersely {

// x of a product: `rows` rows of as many numbers as the weight has columns (rows, where it is transposed). Strides are
// counted in elements and may be negative; a row of x whose column_stride is not 1 is copied before it is multiplied.
struct Operand {
  DType dtype;  // float32, bfloat16 or float16
  int64_t rows;
  const void* data;
  int64_t row_stride;
  int64_t column_stride = 1;
};

enum class Activation : uint8_t { kNone, kRelu, kSilu, kGeluTanh, kGeluErf };

// What is written, everything in float32 and rounded once:
//
//     y = activation(sum + bias + [out, where `accumulate`] + [residual, where residual_first]) + [residual, else]
//
// so a convolution of a residual network adds before its activation, a transformer's block after, and a product that is
// cut along the columns of x accumulates. Strides in elements. `out` shares no memory with x or bias; the residual may
// be `out` itself.
struct Epilogue {
  DType dtype;  // of out and residual: float32, bfloat16 or float16
  void* out;    // [rows of x][outer]
  int64_t row_stride;
  int64_t column_stride = 1;
  const float* bias = nullptr;  // [outer]
  const void* residual = nullptr;
  int64_t residual_row_stride = 0, residual_column_stride = 1;
  bool residual_first = false;
  bool accumulate = false;
  Activation activation = Activation::kNone;
};

// Whether anything but adding a bias and rounding is to be done.
inline bool is_plain(const Epilogue& e) {
  return e.column_stride == 1 && e.residual == nullptr && !e.accumulate && e.activation == Activation::kNone;
}

}  // namespace tersely
