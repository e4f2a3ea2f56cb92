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

// One or two panels that lie side by side.
struct QuantisedPair {
  int64_t panel;
  int panels;
  const int8_t* weights;  // [panels][columns][16][4]
};

class QuantisedPanels {
 public:
  // Packed: bytes that are held, whatever the weights are.
  QuantisedPanels(const std::vector<int16_t>& differences, const Groups& groups, int64_t taps);
  // Coded: borrowed, and decoded each time that it is used, a unit at a time, to cache. See `walks`.
  QuantisedPanels(const CodedMatrix& coded, const Groups& groups, int64_t taps, const QuantisedOperands& operands);

  // Whether a coded matrix can be: its chunks are four channels of a tap each, zero points are those of int8.
  static bool walks(const CodedMatrix* coded, const Groups& groups, int64_t taps, const QuantisedOperands& operands);

  int64_t panels() const { return panels_; }
  bool is_coded() const { return coded_ != nullptr; }
  // Which channels a panel reads: those from first()[panel] on, a multiple of 16; columns() count from there.
  const std::vector<int64_t>& first() const { return first_; }
  int64_t channels() const { return channels_; }
  const std::vector<QuantisedGroup>& columns() const { return columns_; }
  int64_t panel_stride() const { return static_cast<int64_t>(columns_.size()) * 64; }

  // What one worker takes: panels that are decoded together.
  int64_t items() const;
  // Calls f(QuantisedPair) for all panels of an item; again for each of `rounds`, with its number, decoded once.
  template <class F>
  void walk(int64_t item, int64_t rounds, F&& f) const {
    const Item found = decoded(item);
    for (int64_t round = 0; round < rounds; ++round)
      for (int64_t panel = found.first; panel < found.last; panel += 2) {
        const bool alike =
            panel + 1 < found.last && first_[static_cast<size_t>(panel)] == first_[static_cast<size_t>(panel + 1)];
        const int8_t* weights = found.weights + (panel - found.first) * panel_stride();
        f(round, QuantisedPair{panel, alike ? 2 : 1, weights});
        if (!alike && panel + 1 < found.last) f(round, QuantisedPair{panel + 1, 1, weights + panel_stride()});
      }
  }

 private:
  struct Item {
    int64_t first, last;
    const int8_t* weights;
  };
  // In memory of the calling thread, until it asks for the next one.
  Item decoded(int64_t item) const;

  const CodedMatrix* coded_ = nullptr;
  uint8_t flip_ = 0;
  int64_t panels_, channels_ = 0;
  std::vector<int64_t> first_;
  std::vector<QuantisedGroup> columns_;
  std::vector<int8_t> weights_;  // [panels][columns][16][4], 64 bytes more behind the last one
};

}  // namespace tersely
