// Pixels, number by number, in registers of `Lanes` floats; included by one file of each instruction set, and internal
// to it.
#pragma once

#include "tersely/backends/cpu/kernels/pixels.hpp"

namespace tersely {
namespace {

template <int Lanes>
struct PixelLoops {
  typedef float Vector __attribute__((vector_size(Lanes * 4)));
  typedef uint32_t Integers __attribute__((vector_size(Lanes * 4)));

  static Vector load(const float* at) {
    Vector v;
    __builtin_memcpy(&v, at, sizeof v);
    return v;
  }
  static void store(float* at, Vector v) { __builtin_memcpy(at, &v, sizeof v); }
  static Vector all(float value) { return Vector{} + value; }
  static Vector bounded(Vector v, float low, float high) {
    v = v < low ? all(low) : v;  // NaN stays: it is neither less nor greater
    return v > high ? all(high) : v;
  }

  // 1 / (1 + exp(-v)). exp by 2^n and the polynomial of Cephes' expf, within 2 ulp; where it would overflow, the
  // sigmoid is 1e-38 instead of less.
  static Vector sigmoid(Vector v) {
    const Vector t = bounded(-v, -87.0F, 87.0F);
    const Vector shifted = t * 1.44269504088896341F + 12582912.0F;  // n in the lowest bits
    const Vector n = shifted - 12582912.0F;                         // the nearest integer
    const Vector r = (t - n * 0.693359375F) - n * -2.12194440e-4F;
    Vector p = all(1.9875691500e-4F);
    constexpr float kNext[] = {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F,
                               5.0000001201e-1F};
    for (const float next : kNext) p = p * r + next;
    p = p * (r * r) + r + 1.0F;
    Integers power;
    __builtin_memcpy(&power, &shifted, sizeof power);
    power = (power << 23) + (127 << 23);
    Vector scale;
    __builtin_memcpy(&scale, &power, sizeof scale);
    return 1.0F / (1.0F + p * scale);
  }

  static Vector hard_sigmoid(Vector v) { return bounded(v + 3.0F, 0.0F, 6.0F) / 6.0F; }

  template <class F>
  static void each(float* values, int64_t pixels, F&& f) {
    for (int64_t i = 0; i < pixels * 16; i += Lanes) store(values + i, f(load(values + i)));
  }

  static void activate(PixelActivation activation, float* values, int64_t pixels) {
    switch (activation) {
      case PixelActivation::kNone:
        return;
      case PixelActivation::kHardSigmoid:
        return each(values, pixels, [](Vector v) { return hard_sigmoid(v); });
      case PixelActivation::kHardSwish:
        return each(values, pixels, [](Vector v) { return v * hard_sigmoid(v); });
      case PixelActivation::kSigmoid:
        return each(values, pixels, [](Vector v) { return sigmoid(v); });
      case PixelActivation::kSilu:
        return each(values, pixels, [](Vector v) { return v * sigmoid(v); });
    }
  }

  template <class F>
  static void pairs(const float* x, const float* z, int64_t z_step, PixelBounds bounds, float* y, int64_t pixels,
                    F&& f) {
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      for (int part = 0; part < 16; part += Lanes)
        store(y + pixel * 16 + part,
              bounded(f(load(x + pixel * 16 + part), load(z + pixel * z_step + part)), bounds.low, bounds.high));
  }

  static void combine(PixelArithmetic arithmetic, const float* x, const float* z, int64_t z_step, PixelBounds bounds,
                      float* y, int64_t pixels) {
    switch (arithmetic) {
      case PixelArithmetic::kAdd:
        return pairs(x, z, z_step, bounds, y, pixels, [](Vector a, Vector b) { return a + b; });
      case PixelArithmetic::kSubtract:
        return pairs(x, z, z_step, bounds, y, pixels, [](Vector a, Vector b) { return a - b; });
      case PixelArithmetic::kMultiply:
        return pairs(x, z, z_step, bounds, y, pixels, [](Vector a, Vector b) { return a * b; });
    }
  }

  static void scale_shift(const float* x, const float* scale, const float* shift, PixelBounds bounds, float* y,
                          int64_t pixels) {
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      for (int part = 0; part < 16; part += Lanes)
        store(y + pixel * 16 + part,
              bounded(load(x + pixel * 16 + part) * load(scale + part) + load(shift + part), bounds.low, bounds.high));
  }

  static constexpr PixelKernels kKernels{activate, combine, scale_shift};
};

}  // namespace
}  // namespace tersely
