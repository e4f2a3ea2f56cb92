// A depthwise convolution: as many groups as there are channels, one output each.
#pragma once

#include "tersely/backends/cpu/network/convolution.hpp"

namespace tersely {

class DepthwiseConvolution {
 public:
  // weights: of rows that are channels and columns that are taps; borrowed. in, out: blocked, of as many channels.
  // Throws std::invalid_argument where shapes do not fit.
  DepthwiseConvolution(const ConvolutionWeights& weights, const ImageLayout& in, const ImageLayout& out,
                       const ImageLayout* residual, const Window& window);

  void run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish, int threads) const;

  // One row of pixels of one panel of channels. weights: [taps][16]. x: what the first pixel's first tap reads, rows of
  // it `x_row` floats apart.
  void multiply_row(const KernelTable& table, const float* weights, int64_t panel, const float* x, int64_t x_row,
                    float* y, const float* residual, const Finish& finish) const;
  // [panels][taps][16], as multiply_row takes them.
  int64_t weight_floats() const { return out_.blocks() * taps() * kChannelBlock; }
  void decode(const KernelTable& table, float* to) const;
  const ImageLayout& out() const { return out_; }
  const Window& window() const { return window_; }

 private:
  struct Image {
    const float* x;
    float* y;
    const float* residual;
  };
  struct Rows {
    int64_t first, end;
  };
  int64_t taps() const { return window_.height * window_.width; }
  // Columns of a block that has them all.
  int64_t whole_panel() const { return ceil_div(taps(), kTileChunks * kChunkColumns) * kTileChunks * kChunkColumns; }
  // Rows of pixels of one panel of channels. weights: [taps][16].
  void multiply(const KernelTable& table, const float* weights, int64_t panel, const Image& image, Rows rows,
                const Finish& finish) const;

  const ConvolutionWeights& weights_;
  ImageLayout in_, out_, residual_;
  Window window_;
};

}  // namespace tersely
