// What the kernels of activations see: numbers side by side.
#pragma once

#include <cstdint>

namespace tersely {

enum class Unary : uint8_t {
  kRelu,
  kRelu6,
  kSigmoid,
  kSilu,
  kTanh,
  kHardSigmoid,
  kHardSwish,
  kGelu,
  kGeluTanh,
  kExp,
  kErf,
  kSqrt,
  kNegative,
};
inline constexpr int kUnaryCount = 13;

// y may be x. NaN stays NaN.
using UnaryKernel = void (*)(const float* x, int64_t count, float* y);

}  // namespace tersely
