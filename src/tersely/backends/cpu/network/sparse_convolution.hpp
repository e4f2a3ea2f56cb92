// A convolution by the weights that are not zero. Images are planes of channels, whose pixels lie in lanes: a block of
// pixels is packed column by column (channel and tap), then each output's list of weights is multiplied by it.
#pragma once

#include <vector>

#include "tersely/backends/cpu/network/convolution.hpp"
#include "tersely/backends/cpu/network/sparse_weights.hpp"

namespace tersely {

class SparseConvolution {
 public:
  // weights: borrowed. Images are not blocked. Throws std::invalid_argument where shapes do not fit, or an image is
  // larger than 31 bits of floats address.
  SparseConvolution(const SparseWeights& weights, const ImageLayout& in, const ImageLayout& out,
                    const ImageLayout* residual, const Window& window);

  // Floats of `workspace`, at a 64-byte boundary: lists of the weights.
  int64_t workspace_floats() const;
  // As of Convolution; activations are bounds or unary ones.
  void run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish, float* workspace,
           int threads) const;

 private:
  struct Call;
  // How a machine's registers share out pixels and columns.
  struct Plan {
    int64_t blocks, floats;  // of pixels; floats of a packed column
    int64_t columns;         // that are packed at a time
    int64_t registers, lanes;
    int64_t first(int64_t block) const { return registers * block / blocks * lanes; }  // pixel of a block
  };
  Plan plan(int64_t lanes, int64_t vectors) const;
  int64_t pixels() const { return out_.height * out_.width; }
  int64_t shares(const Plan& plan, int64_t images, int threads) const;
  void multiply(const Call& call, int64_t image, int64_t block, int64_t first, int64_t count) const;
  void finish(const Call& call, const float* sums, int64_t image, int64_t output,
              const std::vector<SparsePixels>& pixels) const;
  std::vector<SparsePixels> pixels_of(const Plan& plan, int64_t block) const;

  const SparseWeights& weights_;
  ImageLayout in_, out_, residual_;
  Window window_;
  std::vector<int32_t> offsets_;  // of each column from the pixel that a window begins at
};

}  // namespace tersely
