// The weights of a quantised convolution as panels of bytes, and what sums of them begin with.
//
// Zero points of weights are taken off them; what then does not fit int8 is two or three weights that add up to it,
// which meet the same pixels: columns twice. So there is one kernel, and all sums are exact.
#pragma once

#include <vector>

#include "tersely/backends/cpu/matrix/coded_matrix.hpp"
#include "tersely/backends/cpu/network/step.hpp"
#include "tersely/backends/cpu/network/weights.hpp"

namespace tersely {

// What weights are multiplied by and begin with, of each output; arrays are borrowed.
struct QuantisedOperands {
  bool in_out;                 // weights are stored [inputs][outputs]; of one group and one tap
  bool is_signed;              // weights are int8, else uint8
  const int32_t* weight_zero;  // [outputs], or null: 0, of words as they are
  const int32_t* bias;         // [outputs], or null: 0
  int32_t x_zero;              // of bytes as they are kept
};

// Words of a weight [outputs][channels of a group][taps], its zero points taken off. Throws std::invalid_argument
// where the constant does not hold so many.
std::vector<int16_t> differences_of(const Constant& weight, const Groups& groups, int64_t taps,
                                    const QuantisedOperands& operands);

// [whole blocks of outputs]: bias - x_zero x the sum of an output's weights. Throws std::invalid_argument where a sum
// of products could leave 32 bits.
std::vector<int32_t> starts_of(const std::vector<int16_t>& differences, int64_t outputs,
                               const QuantisedOperands& operands);

// Of four channels of a tap.
struct QuantisedGroup {
  int64_t channel, tap;
};

class QuantisedPanels {
 public:
  QuantisedPanels(const std::vector<int16_t>& differences, const Groups& groups, int64_t taps);

  int64_t panels() const { return panels_; }
  // Which channels a panel reads: those from first()[panel] on, a multiple of 16; columns() count from there.
  const std::vector<int64_t>& first() const { return first_; }
  int64_t channels() const { return channels_; }
  const std::vector<QuantisedGroup>& columns() const { return columns_; }
  // [panels][columns][16][4], 64 bytes more behind the last one.
  const int8_t* weights() const { return weights_.data(); }
  int64_t panel_stride() const { return static_cast<int64_t>(columns_.size()) * 64; }

 private:
  int64_t panels_, channels_ = 0;
  std::vector<int64_t> first_;
  std::vector<QuantisedGroup> columns_;
  std::vector<int8_t> weights_;
};

}  // namespace tersely
