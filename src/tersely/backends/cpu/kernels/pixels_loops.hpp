// Pixels, number by number, in registers of `Lanes` floats; included by one file of each instruction set, and internal
// to it.
#pragma once

#include "tersely/backends/cpu/kernels/activation_loops.hpp"
#include "tersely/backends/cpu/kernels/pixels.hpp"

namespace tersely {
namespace {

template <int Lanes>
struct PixelLoops {
  typedef float Vector __attribute__((vector_size(Lanes * 4)));

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

  template <class F>
  static void each(float* values, int64_t pixels, F&& f) {
    for (int64_t i = 0; i < pixels * 16; i += Lanes) store(values + i, f(load(values + i)));
  }

  static void activate(PixelActivation activation, float* values, int64_t pixels) {
    switch (activation) {
      case PixelActivation::kNone:
        return;
      case PixelActivation::kHardSigmoid:
        return each(values, pixels, Activations<Lanes>::template of<Unary::kHardSigmoid>);
      case PixelActivation::kHardSwish:
        return each(values, pixels, Activations<Lanes>::template of<Unary::kHardSwish>);
      case PixelActivation::kSigmoid:
        return each(values, pixels, Activations<Lanes>::template of<Unary::kSigmoid>);
      case PixelActivation::kSilu:
        return each(values, pixels, Activations<Lanes>::template of<Unary::kSilu>);
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
