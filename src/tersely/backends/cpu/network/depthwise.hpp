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

  // Floats of `workspace`, at a 64-byte boundary: the weights, decoded once a run.
  int64_t workspace_floats() const { return out_.blocks() * kChannelBlock * taps(); }
  void run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish, float* workspace,
           int threads) const;

 private:
  int64_t taps() const { return window_.height * window_.width; }

  const ConvolutionWeights& weights_;
  ImageLayout in_, out_, residual_;
  Window window_;
};

}  // namespace tersely
