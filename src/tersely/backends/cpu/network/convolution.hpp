// A convolution of images by panels of weights: a panel's block is decoded to the first-level cache and multiplied by
// all its pixels, so what decoding costs is shared among them.
#pragma once

#include <optional>
#include <vector>

#include "tersely/backends/cpu/kernels/activations.hpp"
#include "tersely/backends/cpu/kernels/pixels.hpp"
#include "tersely/backends/cpu/network/image.hpp"
#include "tersely/backends/cpu/network/weights.hpp"

namespace tersely {

struct Window {
  int64_t height, width;  // of the kernel
  int64_t stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x;
};

// What becomes of a sum: activation(least of high and greatest of low and (sum x scale + shift + residual)).
struct Finish {
  const float* scale;  // [outputs, up to whole blocks]; null: 1
  const float* shift;  // likewise; null: 0
  float low, high;
  PixelActivation activation = PixelActivation::kNone;
  std::optional<Unary> unary;  // the same for activations that are no pixels' own; of direct convolutions only
};

class Convolution {
 public:
  // weights: borrowed. out is blocked; in too where weights have groups. Throws std::invalid_argument where shapes do
  // not fit or an image is larger than 31 bits of floats address.
  Convolution(const ConvolutionWeights& weights, const ImageLayout& in, const ImageLayout& out,
              const ImageLayout* residual, const Window& window);

  // x, y, residual: images one after another. y shares no memory with x or residual. threads: at most so many.
  // next: whose weights are read afterwards; null where nobody's are.
  void run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish, int threads,
           const Convolution* next) const;

  // Asks memory for what `worker` would wait for at the beginning of a run.
  ItemCodes prefetch(int worker, int threads, int64_t images) const;

  // Whole rows [first, end) of one image, of a block that has all columns, to memory of the caller's: rows as they lie
  // in out without its halo on the left, panels `y_panel` floats apart. y_at: place_rows(). No activation of `unary`.
  void multiply_rows(const KernelTable& table, const FloatBlock& block, const float* x, int64_t first, int64_t end,
                     const int32_t* y_at, float* y, int64_t y_panel, const Finish& finish) const;
  // The places of some rows' pixels from the first one on.
  std::vector<int32_t> place_rows(int64_t rows) const;
  // Columns of a block that has them all.
  int64_t whole_panel() const { return ceil_div(columns(), kTileChunks * kChunkColumns) * kTileChunks * kChunkColumns; }
  const ConvolutionWeights& weights() const { return weights_; }

 private:
  struct Call;
  struct Early;
  struct Brought;
  int64_t columns() const { return runs() * run_; }
  int64_t runs() const { return static_cast<int64_t>(offsets_.size()); }
  PixelPlaces places(int64_t pixel) const {
    return {x_at_.data() + pixel, y_at_.data() + pixel, residual_at_.data() + pixel};
  }
  int64_t pixels() const { return out_.height * out_.width; }
  template <class Panels>
  int64_t shares(const Panels& panels, int64_t images, int threads) const;
  void multiply(const Call& call, const FloatBlock& block, int64_t first, int64_t count) const;
  void finish(const Call& call, ConvolutionBlock& block, int64_t first, int64_t count) const;

  const ConvolutionWeights& weights_;
  ImageLayout in_, out_, residual_;
  std::vector<int32_t> offsets_;   // of each run
  std::vector<int64_t> panel_at_;  // of what each panel reads, from an image on
  int64_t reach_;                  // of a pixel's taps, in floats of a plane
  int64_t run_;
  int64_t block_columns_;
  std::vector<int32_t> x_at_, y_at_, residual_at_;  // of each pixel
};

}  // namespace tersely
