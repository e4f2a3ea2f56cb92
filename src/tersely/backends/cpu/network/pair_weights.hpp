// The weights of a convolution of bfloat16 as panels of pairs of columns, each two channels under one tap: a coded
// matrix, decoded each time that it is used, or words that were put in panels once.
#pragma once

#include <vector>

#include "tersely/backends/cpu/matrix/pair_panels.hpp"
#include "tersely/backends/cpu/network/weights.hpp"

namespace tersely {

// Two columns of a panel: channels `channel`, which is even, and the next one, under a tap. Columns by number as they
// are decoded; `odd` is none, -1, where the last channel has no other: its weight is zero.
struct ColumnPair {
  int64_t channel, tap, even, odd;
};

class PairWeights {
 public:
  // coded: borrowed; null where `weights`, of which a copy is made, holds numbers. Throws std::invalid_argument where
  // they are not bfloat16.
  PairWeights(const MatrixView* coded, const ConvolutionWeights& weights, int64_t taps);

  const std::vector<int64_t>& first() const { return first_; }  // channel that each panel reads from
  int64_t channels() const { return channels_; }
  const std::vector<ColumnPair>& pairs() const { return pairs_; }

  int64_t items(const KernelTable& table) const {
    return coded_ == nullptr ? ceil_div(panels_, 2) : PairPanels(*coded_, table).items();
  }
  // Calls f(PairsOfPanels) for the panels of an item; pairs in their order.
  template <class F>
  void walk(const KernelTable& table, int64_t item, F&& f) const {
    if (coded_ == nullptr) {
      const int64_t stride = count() * kPairWords, panel = item * 2;
      const int panels = static_cast<int>(std::min<int64_t>(2, panels_ - panel));
      return f(PairsOfPanels{panel, panels, packed_.data() + panel * stride, stride});
    }
    PairPanels(*coded_, table).walk(item, [&](const PairsOfPanels& decoded) {
      if (as_decoded_) return f(decoded);
      static thread_local Scratch scratch;
      const int64_t stride = count() * kPairWords;
      auto* words = scratch.get<uint16_t>(2 * stride * 2);
      for (int k = 0; k < decoded.panels; ++k)
        put_in_pairs(decoded.weights + k * decoded.panel_stride, words + k * stride);
      f(PairsOfPanels{decoded.panel, decoded.panels, words, stride});
    });
  }

 private:
  static constexpr int64_t kPairWords = 2 * kPanelRows;
  int64_t count() const { return static_cast<int64_t>(pairs_.size()); }
  // decoded: [column pairs as they are decoded][16][2].
  void put_in_pairs(const uint16_t* decoded, uint16_t* to) const;

  const MatrixView* coded_;
  int64_t panels_, channels_;
  std::vector<int64_t> first_;
  std::vector<ColumnPair> pairs_;
  bool as_decoded_;
  std::vector<uint16_t> packed_;
};

}  // namespace tersely
