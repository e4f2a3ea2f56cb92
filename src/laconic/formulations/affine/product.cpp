// y = x w^T of numbers in lines, for few rows of x: nothing is expanded.
#include <algorithm>
#include <cstring>

#include "laconic/base/parallel.hpp"
#include "laconic/formulations/affine/affine.hpp"
#include "laconic/formulations/split/rows.hpp"
#include "laconic/formulations/split/scratch.hpp"
#include "laconic/formulations/split/walk.hpp"

namespace laconic {
namespace {

// Rows of x that lines are multiplied by, at most four at a time; with more, words are expanded once for all of them.
// MEASURED on Emerald Rapids: by lines, 16 rows take with 4 bits 0.5 (AVX-512) and 1.1 (AVX2) of the time that they
// take by words; with 8 bits 1.1 and 1.3, and 8 rows less than by words.
constexpr int64_t kLineRows = 16;
constexpr int64_t kByteRows = 8;

// A panel of a view whose numbers lie in lines.
class LineProduct {
 public:
  LineProduct(const AffineView& view, const KernelTable& table, const float* x, int64_t width, int batch)
      : view_(view),
        g_(view.words.geometry),
        table_(table),
        multiply_(table.multiply_lines[static_cast<int>(view.words.parameters.dtype)]),
        bits_(view.lines->bits()),
        x_(x),
        width_(width),
        batch_(batch),
        block_(std::min(batch, 4)) {
    group_columns_ = view.scales.groups == 1 ? kSegmentColumns : view.scales.group_chunks * kChunkColumns;
  }

  // sums: [batch][16]; more than four rows are a multiple of four.
  void run(int64_t panel, float* sums) const {
    constexpr int64_t kMost = kSegmentColumns / kStepColumns * kPanelRows;
    alignas(64) static thread_local float scales[kMost], zeros[kMost];
    std::memset(sums, 0, static_cast<size_t>(batch_ * kPanelRows) * 4);
    for (int64_t s = 0; s < g_.segments_per_panel; ++s) {
      const int64_t first = s * kSegmentColumns, columns = std::min(kSegmentColumns, g_.columns - first);
      const int64_t lines = view_.lines->lines_per_row(s), groups = ceil_div(columns, group_columns_);
      const int64_t place = panel * view_.scales.groups + (view_.scales.groups == 1 ? 0 : first / group_columns_);
      widen_scales(view_.scales, table_, place, groups, scales);
      widen_zeros(view_.scales, place, groups, zeros);
      // A last line may be longer than the groups: what is there then meets zeros of x, and must be finite.
      const int64_t reached = ceil_div(lines * line_columns(bits_), group_columns_);
      std::fill_n(scales + groups * kPanelRows, (reached - groups) * kPanelRows, 0.0F);
      std::fill_n(zeros + groups * kPanelRows, (reached - groups) * kPanelRows, 0.0F);
      const LinesPart part{
          view_.lines->part(panel, s), lines * kLineBytes, lines, bits_, group_columns_ / kStepColumns, scales, zeros};
      for (int b = 0; b < batch_; b += block_)
        multiply_(part, x_ + b * width_ + first, width_, block_, sums + b * kPanelRows);
    }
  }

 private:
  const AffineView& view_;
  const Geometry& g_;
  const KernelTable& table_;
  const MultiplyLines multiply_;
  const int bits_;
  const float* x_;
  const int64_t width_;
  const int batch_, block_;
  int64_t group_columns_;
};

}  // namespace

void affine_linear(const AffineView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = view.words.geometry;
  if (view.lines == nullptr || rows.batch > (view.lines->bits() == 8 ? kByteRows : kLineRows))
    return linear(view.words, table, rows, threads);
  threads = workers_worth_waking(threads, product_ns(g, rows.batch));
  const int batch = static_cast<int>(rows.batch <= 2 ? rows.batch : ceil_div(rows.batch, 4) * 4);
  const int64_t width = ceil_div(g.columns, line_columns(1)) * line_columns(1);
  static thread_local Scratch x_scratch;
  const float* x = padded_floats(table, rows, g.columns, width, batch, x_scratch);
  const LineProduct product(view, table, x, width, batch);
  parallel_for(threads, g.units, [&](int64_t unit) {
    const UnitPanels panels = unit_panels(g, unit);
    alignas(64) float sums[kLineRows * 16];
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      product.run(panel, sums);
      const int64_t first = panel * kPanelRows;
      finish_rows(rows, g.rows, first, std::min(kPanelRows, g.rows - first), sums);
    }
  });
}

}  // namespace laconic
