// Pooling in registers of `Lanes` floats; included by one file of each instruction set, and internal to it.
#pragma once

#include "tersely/backends/cpu/kernels/pool.hpp"

namespace tersely {
namespace {

template <int Lanes>
struct Pooling {
  typedef float Vector __attribute__((vector_size(Lanes * 4)));
  static constexpr int kParts = 16 / Lanes;

  static Vector load(const float* at) {
    Vector v;
    __builtin_memcpy(&v, at, sizeof v);
    return v;
  }

  static void greatest(const PoolWindow& window, float* y) {
    Vector most[kParts];
    for (int k = 0; k < kParts; ++k) most[k] = load(window.x + k * Lanes);
    for (int64_t row = 0; row < window.rows; ++row)
      for (int64_t column = 0; column < window.columns; ++column)
        for (int k = 0; k < kParts; ++k) {
          const Vector value = load(window.x + row * window.row + column * window.column + k * Lanes);
          most[k] = value > most[k] ? value : most[k];
          most[k] = value != value ? value : most[k];  // and what is NaN stays: nothing is greater
        }
    for (int k = 0; k < kParts; ++k) __builtin_memcpy(y + k * Lanes, &most[k], sizeof most[k]);
  }

  static void mean(const PoolWindow& window, float factor, float* y) {
    Vector sums[kParts]{};
    for (int64_t row = 0; row < window.rows; ++row)
      for (int64_t column = 0; column < window.columns; ++column)
        for (int k = 0; k < kParts; ++k)
          sums[k] += load(window.x + row * window.row + column * window.column + k * Lanes);
    for (int k = 0; k < kParts; ++k) {
      sums[k] *= factor;
      __builtin_memcpy(y + k * Lanes, &sums[k], sizeof sums[k]);
    }
  }

  static constexpr PoolKernels kKernels{greatest, mean};
};

}  // namespace
}  // namespace tersely
