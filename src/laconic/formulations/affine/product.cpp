// y = x w^T of numbers in lines, for few rows of x: nothing is expanded. Up to 4 bits, a register of words is looked up
// for every row and group; numbers of 8 bits are taken to floats and scaled.
#include <algorithm>
#include <cstring>

#include "laconic/base/parallel.hpp"
#include "laconic/formulations/affine/affine.hpp"
#include "laconic/formulations/split/rows.hpp"
#include "laconic/formulations/split/scratch.hpp"
#include "laconic/formulations/split/walk.hpp"

namespace laconic {
namespace {

// Groups whose tables are made at a time: 32 KB, which stay in the first-level cache or near it.
constexpr int64_t kBlockGroups = 32;
// Rows of x that lines are multiplied by, at most four at a time; with more, words are expanded once for all of them.
// MEASURED on model 207: by lines, 16 rows take with 4 bits 0.5 (AVX-512) and 1.1 (AVX2) of the time that they take by
// words; with 8 bits 1.1 and 1.3, and 8 rows less than by words.
constexpr int64_t kLineRows = 16;
constexpr int64_t kByteRows = 8;

// A panel of a view whose numbers lie in lines.
class LineProduct {
 public:
  LineProduct(const AffineView& view, const KernelTable& table, const float* x, int64_t width, int batch)
      : view_(view),
        g_(view.words.geometry),
        table_(table),
        kernels_(table.lines[static_cast<int>(view.words.parameters.dtype)]),
        bits_(view.lines->bits()),
        x_(x),
        width_(width),
        batch_(batch),
        block_(std::min(batch, 4)) {
    const bool whole = view.scales.groups == 1;
    group_columns_ = view.scales.group_chunks * kChunkColumns;
    block_columns_ = whole ? kSegmentColumns : std::min(kSegmentColumns, kBlockGroups * group_columns_);
    group_steps_ = whole ? kSegmentColumns : group_columns_ / kStepColumns;
  }

  // sums: [batch][16]; more than four rows are a multiple of four.
  void run(int64_t panel, float* sums) const {
    alignas(64) static thread_local float tables[kBlockGroups * kPanelRows * 16];
    alignas(64) static thread_local float scales[kBlockGroups * kPanelRows], zeros[kBlockGroups * kPanelRows];
    std::memset(sums, 0, static_cast<size_t>(batch_ * kPanelRows) * 4);
    for (int64_t s = 0; s < g_.segments_per_panel; ++s) {
      const int64_t first = s * kSegmentColumns, columns = std::min(kSegmentColumns, g_.columns - first);
      const int64_t lines = view_.lines->lines_per_row(s);
      LinesPart part{view_.lines->part(panel, s), lines * kLineBytes, 0, bits_, group_steps_, tables, scales, zeros};
      for (int64_t column = 0; column < columns; column += block_columns_) {
        const int64_t group = view_.scales.groups == 1 ? 0 : (first + column) / group_columns_;
        const int64_t block = std::min(block_columns_, columns - column);
        const int64_t groups = view_.scales.groups == 1 ? 1 : ceil_div(block, group_columns_);
        const int64_t place = panel * view_.scales.groups + group;
        widen_scales(view_.scales, table_, place, groups, scales);
        widen_zeros(view_.scales, place, groups, zeros);
        part.lines_per_row = ceil_div(block, line_columns(bits_));
        // A last line may be longer than the groups: what is there then meets zeros of x, and must be finite.
        const int64_t reached =
            view_.scales.groups == 1 ? 1 : ceil_div(part.lines_per_row * line_columns(bits_), group_columns_);
        std::fill_n(scales + groups * kPanelRows, (reached - groups) * kPanelRows, 0.0F);
        std::fill_n(zeros + groups * kPanelRows, (reached - groups) * kPanelRows, 0.0F);
        if (bits_ != 8)
          for (int64_t k = 0; k < reached; ++k)
            kernels_.make_tables(scales + k * kPanelRows, zeros + k * kPanelRows, bits_, tables + k * kPanelRows * 16);
        const MultiplyLines multiply = bits_ == 8 ? kernels_.multiply_bytes : table_.multiply_lines;
        for (int b = 0; b < batch_; b += block_)
          multiply(part, x_ + b * width_ + first + column, width_, block_, sums + b * kPanelRows);
        part.lines += part.lines_per_row * kLineBytes;
      }
    }
  }

 private:
  const AffineView& view_;
  const Geometry& g_;
  const KernelTable& table_;
  const LineKernels& kernels_;
  const int bits_;
  const float* x_;
  const int64_t width_;
  const int batch_, block_;
  int64_t group_columns_, block_columns_, group_steps_;
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
