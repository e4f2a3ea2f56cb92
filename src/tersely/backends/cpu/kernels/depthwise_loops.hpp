// Depthwise convolution in registers of `Lanes` floats; included by one file of each instruction set, and internal to
// it. Eight pixels are summed at once: as many sums as hide the latency of an FMA, for each of which the pixel is an
// operand in memory. Distances between pixels are constants where the stride is 1 or 2, so they cost no arithmetic.
#pragma once

#include "tersely/backends/cpu/kernels/depthwise.hpp"

namespace tersely {
namespace {

template <int Lanes>
struct DepthwiseLoops {
  typedef float Vector __attribute__((vector_size(Lanes * 4)));
  static constexpr int kPixels = 8;

  static Vector load(const float* at) {
    Vector v;
    __builtin_memcpy(&v, at, sizeof v);
    return v;
  }
  static Vector all(float value) { return Vector{} + value; }

  // Columns, Step: constants, or 0 where only the row knows them; with constants, taps are 16 floats apart.
  template <int Columns, int Step, int Pixels>
  static void tile(const DepthwiseRow& row, int part, int64_t pixel, float* y) {
    const int64_t step = Step != 0 ? Step : row.x_step, column = Columns != 0 ? 16 : row.x_column;
    const int64_t columns = Columns != 0 ? Columns : row.columns;
    const float* x = row.x + pixel * step + part;
    const float* w = row.weights + part;
    Vector sums[Pixels]{};
    for (int64_t i = 0; i < row.rows; ++i, x += row.x_row) {
      const float* at = x;
#pragma GCC unroll 7
      for (int64_t j = 0; j < columns; ++j, at += column, w += 16) {
        const Vector weight = load(w);
#pragma GCC unroll 8
        for (int p = 0; p < Pixels; ++p) sums[p] += weight * load(at + p * step);
      }
    }
    const Vector scale = row.scale == nullptr ? all(1.0F) : load(row.scale + part);
    const Vector shift = row.shift == nullptr ? Vector{} : load(row.shift + part);
    const Vector low = all(row.low), high = all(row.high);
    const int64_t first = pixel * 16 + part;
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p) {
      Vector value = sums[p] * scale + shift;
      if (row.residual != nullptr) value += load(row.residual + first + p * 16);
      value = value < low ? low : value;  // NaN stays: it is neither less nor greater
      value = value > high ? high : value;
      __builtin_memcpy(y + first + p * 16, &value, sizeof value);
    }
  }

  using Tile = void (*)(const DepthwiseRow&, int, int64_t, float*);
  template <int Columns, int Step>
  static constexpr Tile kTiles[kPixels] = {tile<Columns, Step, 1>, tile<Columns, Step, 2>, tile<Columns, Step, 3>,
                                           tile<Columns, Step, 4>, tile<Columns, Step, 5>, tile<Columns, Step, 6>,
                                           tile<Columns, Step, 7>, tile<Columns, Step, 8>};

  template <int Columns>
  static const Tile* tiles(int64_t step) {
    return step == 16 ? kTiles<Columns, 16> : step == 32 ? kTiles<Columns, 32> : kTiles<Columns, 0>;
  }

  static const Tile* choose(const DepthwiseRow& row) {
    if (row.x_column != 16) return kTiles<0, 0>;
    switch (row.columns) {
      case 3:
        return tiles<3>(row.x_step);
      case 5:
        return tiles<5>(row.x_step);
      case 7:
        return tiles<7>(row.x_step);
      default:
        return kTiles<0, 0>;
    }
  }

  static void convolve(const DepthwiseRow& row, float* y, int64_t pixels) {
    const Tile* chosen = choose(row);
    int64_t count = (pixels + kPixels - 1) / kPixels;
    for (int64_t pixel = 0; count != 0; --count) {
      const int64_t some = (pixels - pixel + count - 1) / count;
      for (int part = 0; part < 16; part += Lanes) chosen[some - 1](row, part, pixel, y);
      pixel += some;
    }
  }
};

}  // namespace
}  // namespace tersely
