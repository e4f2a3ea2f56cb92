// A convolution of images by a coded matrix, or by weights that are decoded once: a panel's block is decoded to the
// first-level cache and multiplied by all its pixels, so what decoding costs is shared among them.
#pragma once

#include <optional>
#include <vector>

#include "tersely/backends/cpu/matrix/float_panels.hpp"
#include "tersely/backends/cpu/network/image.hpp"

namespace tersely {

struct Window {
  int64_t height, width;  // of the kernel
  int64_t stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x;
};

// What becomes of a sum: least of high and greatest of low and (sum x scale + shift + residual).
struct Finish {
  const float* scale;  // [outputs, up to whole blocks]; null: 1
  const float* shift;  // likewise; null: 0
  float low, high;
  std::optional<Unary> activation;  // of that, while it is in the cache; only of direct convolutions
};

class Convolution {
 public:
  // columns: where in its kernel each column of the weight lies, channel x taps + tap; null: in this order. out is
  // blocked. Throws std::invalid_argument where shapes do not fit or an image is larger than 31 bits of floats address.
  Convolution(const ImageLayout& in, const ImageLayout& out, const ImageLayout* residual, const Window& window,
              const int64_t* columns);

  // x, y, residual: images one after another. y shares no memory with x or residual. threads: at most so many.
  void run(const MatrixView& weights, const float* x, float* y, const float* residual, int64_t images,
           const Finish& finish, int threads) const;

  int64_t columns() const { return runs() * run_; }

 private:
  int64_t runs() const { return static_cast<int64_t>(offsets_.size()); }
  // Of pixels [first, first + count) that a block's panels have been written to.
  void activate(const KernelTable& table, Unary kind, const ConvolutionBlock& block, int64_t first, int64_t count) const;
  int64_t pixels() const { return out_.height * out_.width; }

  ImageLayout in_, out_, residual_;
  std::vector<int32_t> offsets_;  // of each run
  int64_t run_;
  int64_t block_columns_;
  std::vector<int32_t> x_at_, y_at_, residual_at_;  // of each pixel
};

}  // namespace tersely
