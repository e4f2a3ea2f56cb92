// What kernels see that work number by number on pixels of 16 channels side by side.
#pragma once

#include <cstdint>

namespace tersely {

enum class PixelActivation : uint8_t { kNone, kHardSigmoid, kHardSwish, kSigmoid, kSilu };
enum class PixelArithmetic : uint8_t { kAdd, kSubtract, kMultiply };

// What numbers are bounded to; NaN stays.
struct PixelBounds {
  float low, high;
};

struct PixelKernels {
  // values: [pixels][16], in place. NaN stays.
  void (*activate)(PixelActivation activation, float* values, int64_t pixels);
  // y = x op z, bounded. z_step: 16, or 0 where all pixels meet the same one of z. y may be x.
  void (*combine)(PixelArithmetic arithmetic, const float* x, const float* z, int64_t z_step, PixelBounds bounds,
                  float* y, int64_t pixels);
  // y = x x scale + shift, bounded; scale, shift: [16]. y may be x.
  void (*scale_shift)(const float* x, const float* scale, const float* shift, PixelBounds bounds, float* y,
                      int64_t pixels);
};

}  // namespace tersely
