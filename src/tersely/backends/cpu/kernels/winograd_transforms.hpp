// The transforms of winograd.hpp for registers of `Lanes` floats; included by one file of each instruction set, and
// internal to it.
#pragma once

#include "tersely/backends/cpu/kernels/winograd.hpp"

namespace tersely {
namespace {

template <int Lanes>
struct Transforms {
  typedef float Vector __attribute__((vector_size(Lanes * 4)));

  static Vector load(const float* at) {
    Vector v;
    __builtin_memcpy(&v, at, sizeof v);
    return v;
  }
  static void store(float* at, Vector v) { __builtin_memcpy(at, &v, sizeof v); }

  static void input(const float* x, int64_t row, TileEdge edge, float* out, int64_t stride) {
    const bool whole = edge.rows >= 4 && edge.columns >= 4;
    for (int lane = 0; lane < 16; lane += Lanes) {
      Vector d[4][4], e[4][4];
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j)
          d[i][j] = whole || (i < edge.rows && j < edge.columns) ? load(x + i * row + j * 16 + lane) : Vector{};
      for (int j = 0; j < 4; ++j) {
        e[0][j] = d[0][j] - d[2][j];
        e[1][j] = d[1][j] + d[2][j];
        e[2][j] = d[2][j] - d[1][j];
        e[3][j] = d[1][j] - d[3][j];
      }
      for (int i = 0; i < 4; ++i) {
        float* to = out + i * 4 * stride + lane;
        store(to, e[i][0] - e[i][2]);
        store(to + stride, e[i][1] + e[i][2]);
        store(to + 2 * stride, e[i][2] - e[i][1]);
        store(to + 3 * stride, e[i][1] - e[i][3]);
      }
    }
  }

  static void weights(const float* w, int64_t tap_stride, int64_t channels, float* out, int64_t stride) {
    for (int64_t at = 0; at < channels * 16; at += Lanes) {
      Vector g[3][3], h[4][3];
      for (int tap = 0; tap < 9; ++tap) g[tap / 3][tap % 3] = load(w + tap * tap_stride + at);
      for (int j = 0; j < 3; ++j) {
        const Vector even = (g[0][j] + g[2][j]) * 0.5F, odd = g[1][j] * 0.5F;
        h[0][j] = g[0][j];
        h[1][j] = even + odd;
        h[2][j] = even - odd;
        h[3][j] = g[2][j];
      }
      for (int i = 0; i < 4; ++i) {
        const Vector even = (h[i][0] + h[i][2]) * 0.5F, odd = h[i][1] * 0.5F;
        float* to = out + i * 4 * stride + at;
        store(to, h[i][0]);
        store(to + stride, even + odd);
        store(to + 2 * stride, even - odd);
        store(to + 3 * stride, h[i][2]);
      }
    }
  }

  static void output(const float* points, int64_t stride, const WinogradFinish& finish, TileEdge edge, float* y,
                     int64_t row) {
    for (int lane = 0; lane < 16; lane += Lanes) {
      Vector m[4][4], e[2][4];
      for (int i = 0; i < 16; ++i) m[i / 4][i % 4] = load(points + i * stride + lane);
      for (int j = 0; j < 4; ++j) {
        e[0][j] = m[0][j] + m[1][j] + m[2][j];
        e[1][j] = m[1][j] - m[2][j] - m[3][j];
      }
      const Vector scale = finish.scale == nullptr ? Vector{} + 1.0F : load(finish.scale + lane);
      const Vector shift = finish.shift == nullptr ? Vector{} : load(finish.shift + lane);
      const Vector low = Vector{} + finish.low, high = Vector{} + finish.high;
      for (int i = 0; i < 2 && i < edge.rows; ++i) {
        const Vector pair[2] = {e[i][0] + e[i][1] + e[i][2], e[i][1] - e[i][2] - e[i][3]};
        for (int j = 0; j < 2 && j < edge.columns; ++j) {
          Vector value = pair[j] * scale + shift;
          if (finish.residual != nullptr) value += load(finish.residual + i * finish.residual_row + j * 16 + lane);
          value = value < low ? low : value;  // NaN stays
          value = value > high ? high : value;
          store(y + i * row + j * 16 + lane, value);
        }
      }
    }
  }

  static constexpr WinogradKernels kKernels{input, weights, output};
};

}  // namespace
}  // namespace tersely
