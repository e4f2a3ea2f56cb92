// A direct convolution of bfloat16: pairs of channels of x by pairs of a weight, sums in float32
// (kernels/pairs.hpp). Two panels are decoded, then multiplied by all pixels of a share.
#pragma once

#include <optional>
#include <vector>

#include "tersely/backends/cpu/network/convolution.hpp"
#include "tersely/backends/cpu/network/pair_weights.hpp"

namespace tersely {

// Where a convolution's results go, at the same places: float32, the same rounded to bfloat16, or both.
struct PairResult {
  float* y;
  uint16_t* rounded;
};

class PairConvolution {
 public:
  // weights: borrowed. in and out are blocked; in's channels beyond the last, where their number is odd, are zeros.
  // Throws std::invalid_argument as Convolution does.
  PairConvolution(const PairWeights& weights, const ImageLayout& in, const ImageLayout& out,
                  const ImageLayout* residual, const Window& window);

  // As of Convolution, x of bfloat16. Results of activations that are no bounds are float32, or both.
  void run(const uint16_t* x, const PairResult& y, const float* residual, int64_t images, const Finish& finish,
           int threads) const;

 private:
  struct Call;
  PixelPlaces places(int64_t pixel) const {
    return {x_at_.data() + pixel, y_at_.data() + pixel, residual_at_.data() + pixel};
  }
  int64_t pixels() const { return out_.height * out_.width; }
  void multiply(const Call& call, const PairsOfPanels& panels, int64_t first, int64_t count) const;
  void finish(const Call& call, PairBlock& block, int64_t first, int64_t count) const;

  const PairWeights& weights_;
  ImageLayout in_, out_, residual_;
  std::vector<int32_t> offsets_;   // of each run
  std::vector<int64_t> panel_at_;  // of what each panel reads, from an image on
  int64_t run_;                    // pairs
  std::vector<int32_t> x_at_, y_at_, residual_at_;
};

}  // namespace tersely
