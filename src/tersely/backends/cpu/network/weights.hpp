// The weights of a convolution as panels: a coded matrix, a block of which is decoded each time that it is used, or
// floats that were put in panels once, for weights whose code is no walk over words.
#pragma once

#include <vector>

#include "tersely/backends/cpu/matrix/float_panels.hpp"

namespace tersely {

// [panels][columns][16], zeros beyond the last output.
struct PackedPanels {
  int64_t panels, columns;
  std::vector<float> weights;

  int64_t items() const { return ceil_div(panels, 2); }
  int64_t panels_each() const { return 2; }

  // As of FloatPanels.
  template <class F>
  void walk(int64_t item, int64_t block_columns, F&& f) const {
    walk(item, block_columns, NoEarlyPixels{}, {}, f);
  }
  ItemCodes prefetch(int64_t) const { return {}; }
  template <class Early, class F>
  void walk(int64_t item, int64_t block_columns, const Early&, const ItemCodes&, F&& f) const {
    const int64_t panel = item * 2, stride = columns * kPanelRows;
    const int count = static_cast<int>(std::min<int64_t>(2, panels - panel));
    for (int64_t column = 0; column < columns; column += block_columns)
      f(FloatBlock{panel, count, column, std::min(block_columns, columns - column),
                   weights.data() + panel * stride + column * kPanelRows, stride});
  }
};

// A convolution's groups: their number, and the channels and outputs of each.
struct Groups {
  int64_t count, channels, outputs;
};

// Where panels of floats read: panel p the channels from first[p] on, `channels` of them; and where in the kernel of
// such a range each column lies, channel x taps + tap.
struct PanelColumns {
  std::vector<int64_t> first;
  int64_t channels;
  std::vector<int64_t> columns;
};

class ConvolutionWeights {
 public:
  // coded: borrowed; its rows are outputs, of whole groups where there are several.
  ConvolutionWeights(const MatrixView& coded, const Groups& groups, int64_t taps);
  // dense: [outputs][channels of a group][taps]. Panels whose outputs belong to several groups get zeros where an
  // output does not read a channel, so an infinity or NaN in one of these channels reaches them all. block:
  // channels that lie side by side in x; ranges begin at whole blocks of these, and columns lie in the order block,
  // tap, channel.
  ConvolutionWeights(const float* dense, const Groups& groups, int64_t taps, int64_t block);

  const PanelColumns& reads() const { return reads_; }

  // f(panels), of FloatPanels or PackedPanels.
  template <class F>
  void visit(const KernelTable& table, F&& f) const {
    coded_ == nullptr ? f(packed_) : f(FloatPanels(*coded_, table, starts_.empty() ? nullptr : starts_.data()));
  }

  // f(PackedPanels), where there is no coded matrix.
  template <class F>
  void visit_numbers(F&& f) const {
    f(packed_);
  }

  // Whether a coded matrix can be walked as the weights of these groups: see the first constructor.
  static bool walks(const MatrixView* coded, const Groups& groups, int64_t taps);

 private:
  const MatrixView* coded_ = nullptr;
  std::vector<PanelStart> starts_;  // of a coded matrix
  PackedPanels packed_{};
  PanelColumns reads_;
};

}  // namespace tersely
