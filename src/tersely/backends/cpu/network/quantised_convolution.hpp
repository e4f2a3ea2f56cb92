// Convolutions of images of bytes: exact sums, and what becomes of them while they are in registers.
#pragma once

#include <vector>

#include "tersely/backends/cpu/kernels/quantised.hpp"
#include "tersely/backends/cpu/network/convolution.hpp"
#include "tersely/backends/cpu/network/quantised_weights.hpp"

namespace tersely {

// Where results go: bytes or, where `bytes` is null, floats.
struct QuantisedResult {
  uint8_t* bytes;
  float* floats;
};

class QuantisedConvolution {
 public:
  // starts: as of starts_of. scale of `to`: [whole blocks of outputs], borrowed. in, out: blocked; in's halo is as wide
  // as the padding. Throws std::invalid_argument where shapes do not fit.
  QuantisedConvolution(QuantisedPanels panels, std::vector<int32_t> starts, const Requantisation& to,
                       const ImageLayout& in, const ImageLayout& out, const Window& window);

  void run(const uint8_t* x, const QuantisedResult& y, int64_t images, int threads) const;

 private:
  int64_t pixels() const { return out_.height * out_.width; }

  const QuantisedPanels panels_;
  const std::vector<int32_t> starts_;
  const Requantisation to_;
  const ImageLayout in_, out_;
  int64_t run_ = 1;
  std::vector<int32_t> offsets_;  // of each run of groups, in bytes
  std::vector<int32_t> x_at_, y_at_;
};

// As many groups as there are channels, one output each.
class QuantisedDepthwiseConvolution {
 public:
  // differences: [channels][taps]. As above.
  QuantisedDepthwiseConvolution(const std::vector<int16_t>& differences, std::vector<int32_t> starts,
                                const Requantisation& to, const ImageLayout& in, const ImageLayout& out,
                                const Window& window);

  void run(const uint8_t* x, uint8_t* y, int64_t images, int threads) const;

 private:
  const std::vector<int32_t> starts_;
  const Requantisation to_;
  const ImageLayout in_, out_;
  const Window window_;
  std::vector<int32_t> weights_;  // [blocks][taps][16]
};

}  // namespace tersely
