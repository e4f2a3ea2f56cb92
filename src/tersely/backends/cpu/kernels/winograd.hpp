// Transforms of Winograd's minimal filtering F(2 x 2, 3 x 3): 16 products where a direct convolution has 36. Each works
// on 16 channels or outputs side by side, `stride` floats from one of the 16 points of a transformed tile to the next.
// A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", 2016, doi:10.1109/CVPR.2016.435.
#pragma once

#include <cstdint>

namespace tersely {

constexpr int kWinogradPoints = 16;

// How much of a tile lies in the image: rows and columns beyond are zeros (of the input) or are not written.
struct TileEdge {
  int rows, columns;
};

// What becomes of a tile of results.
struct WinogradFinish {
  const float* scale;     // [16]; null: 1
  const float* shift;     // [16]; null: 0
  const float* residual;  // of the tile's first pixel; null: 0
  int64_t residual_row;   // floats
  float low, high;
};

struct WinogradKernels {
  // 4 x 4 pixels of 16 channels, rows `row` floats apart.
  void (*input)(const float* x, int64_t row, TileEdge edge, float* out, int64_t stride);
  // 3 x 3 weights of `channels` channels and 16 outputs: w[tap][channel][16], taps `tap_stride` floats apart.
  void (*weights)(const float* w, int64_t tap_stride, int64_t channels, float* out, int64_t stride);
  // 2 x 2 pixels of 16 outputs.
  void (*output)(const float* points, int64_t stride, const WinogradFinish& finish, TileEdge edge, float* y,
                 int64_t row);
};

}  // namespace tersely
