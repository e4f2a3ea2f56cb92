// A convolution of 3 x 3 taps and stride 1 by Winograd's F(2 x 2, 3 x 3) on coded weights: a panel is decoded, then
// transformed, in scratch, and used for all tiles. Sums are rounded otherwise than a direct convolution's.
#pragma once

#include <vector>

#include "tersely/backends/cpu/network/convolution.hpp"

namespace tersely {

class Winograd {
 public:
  // As of Convolution, for a window of 3 x 3, stride and dilation 1 and one group. Channels of in are whole blocks, and
  // columns lie in the order block, tap, channel; throws std::invalid_argument for others.
  Winograd(const ConvolutionWeights& weights, const ImageLayout& in, const ImageLayout& out,
           const ImageLayout* residual, const Window& window);

  // Floats of `workspace`, at a 64-byte boundary.
  int64_t workspace_floats() const;
  void run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish, float* workspace,
           int threads) const;

 private:
  struct Call;
  struct Tiles {
    int64_t first, count;
  };
  int64_t tiles() const { return tile_rows_ * tile_columns_; }
  int64_t weight_floats() const { return kWinogradPoints * in_.channels * out_.blocks() * kChannelBlock; }
  int64_t input_floats() const { return kWinogradPoints * in_.channels * tiles(); }
  // Columns of a block that has them all.
  int64_t whole_panel() const {
    return ceil_div(in_.channels * 9, kTileChunks * kChunkColumns) * kTileChunks * kChunkColumns;
  }
  bool by_bands() const;
  int64_t band_tiles() const;
  int64_t bands_for(int threads) const;

  void transform_input(const float* x, int64_t block, Tiles some, float* out, int64_t stride) const;
  void transform_weights(const FloatBlock& block, float* out, int64_t stride, int64_t panel_stride) const;
  void multiply(const Call& call, int64_t panel, int panels, const float* u, int64_t u_stride, int64_t u_panel,
                const float* v, int64_t v_stride, int64_t v_tiles, Tiles some) const;
  void run_by_panels(const Call& call, float* workspace, int threads) const;
  void run_by_bands(const Call& call, float* workspace, int threads) const;

  const ConvolutionWeights& weights_;
  ImageLayout in_, out_, residual_;
  int64_t pad_y_, pad_x_, tile_rows_, tile_columns_;
};

}  // namespace tersely
