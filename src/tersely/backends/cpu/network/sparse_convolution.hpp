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
    int64_t lanes, blocks, floats;  // blocks of pixels; floats of the sums of an output and a block
    int64_t columns;                // that are packed at a time
    int64_t units;                  // registers of pixels, or rows of an image, that blocks share
    int64_t row;                    // registers that a row of pixels begins; 0: pixels lie side by side, whatever row
    int64_t strips;                 // that an image's rows are cut into
    int64_t taps, channel_floats;   // columns of a channel that are packed together, and what these take
    int64_t packed_floats(int64_t columns) const { return columns / taps * channel_floats; }
    int64_t first(int64_t block) const { return units * (block / strips) / (blocks / strips); }
    int64_t end(int64_t block) const { return first(block + strips); }
    int64_t column(int64_t block) const { return block % strips * row * lanes; }  // that a strip begins at
  };
  Plan plan(int64_t lanes, int64_t vectors) const;
  Plan plan_by_rows(int64_t lanes, int64_t vectors) const;
  bool suits_rows(int64_t lanes, int64_t vectors) const;
  void share_columns(Plan& plan, int64_t group) const;
  std::vector<uint32_t> places_of(const Plan& plan) const;
  int64_t pixels() const { return out_.height * out_.width; }
  int64_t shares(const Plan& plan, int64_t images, int threads) const;
  void multiply(const Call& call, int64_t image, int64_t block, int64_t first, int64_t count) const;
  void finish(const Call& call, const float* sums, int64_t image, int64_t output,
              const std::vector<SparsePixels>& pixels) const;
  std::vector<SparsePixels> pixels_of(const Plan& plan, int64_t block) const;
  int32_t width_of(const Plan& plan, int64_t block) const;
  std::vector<SparsePixels> packed_rows(const Plan& plan, int64_t block) const;

  const SparseWeights& weights_;
  ImageLayout in_, out_, residual_;
  Window window_;
  std::vector<int32_t> offsets_;      // of each column from the pixel that a window begins at
  std::vector<int32_t> row_offsets_;  // of each channel and column of taps; or none
  int64_t group_ = 0;                 // channels of which lists have all taps before they go on to others
};

}  // namespace tersely
