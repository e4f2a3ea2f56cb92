// y = x w^T of numbers in row fields, for few rows of x: nothing is expanded.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/backends/cpu/matrix/rows.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/words/affine/affine.hpp"
#include "tersely/codes/words/affine/row_fields.hpp"

namespace tersely {
namespace {

// A panel of a view whose numbers lie in row fields.
class RowFieldProduct {
 public:
  RowFieldProduct(const RowFieldsView& view, const KernelTable& table, MultiplyRowFields multiply, const float* x,
                  int64_t width, int batch)
      : view_(view),
        g_(view.words.geometry),
        table_(table),
        multiply_(multiply),
        bits_(view.lines->bits()),
        x_(x),
        width_(width),
        batch_(batch),
        block_(std::min(batch, 4)),
        group_columns_(view.groups.groups() == 1 ? kSegmentColumns : view.groups.group_chunks() * kChunkColumns) {}

  // sums: [batch][16]; more than four rows are a multiple of four.
  void run(int64_t panel, float* sums) const {
    const int64_t groups_of_row = view_.groups.groups();
    std::memset(sums, 0, static_cast<size_t>(batch_ * kPanelRows) * 4);
    for (int64_t s = 0; s < g_.segments_per_panel; ++s) {
      const int64_t first = s * kSegmentColumns, columns = std::min(kSegmentColumns, g_.columns - first);
      const int64_t lines = view_.lines->lines_per_row(s), groups = ceil_div(columns, group_columns_);
      // A last line may be longer than the groups: what is there then meets zeros of x, and must be finite.
      const int64_t reached = std::max(groups, ceil_div(lines * line_columns(bits_), group_columns_));
      RowFieldsPart part{};
      part.lines = view_.lines->part(panel, s);
      part.row_bytes = lines * kLineBytes;
      part.lines_per_row = lines;
      part.bits = bits_;
      part.group_steps = group_columns_ / kStepColumns;
      view_.groups.point(table_, panel * groups_of_row + (groups_of_row == 1 ? 0 : first / group_columns_), groups,
                         reached, part);
      for (int b = 0; b < batch_; b += block_)
        multiply_(part, x_ + b * width_ + first, width_, block_, sums + b * kPanelRows);
    }
  }

 private:
  const RowFieldsView& view_;
  const Geometry& g_;
  const KernelTable& table_;
  const MultiplyRowFields multiply_;
  const int bits_;
  const float* x_;
  const int64_t width_;
  const int batch_, block_;
  const int64_t group_columns_;
};

// Scales and zeros as floats.
class ScaledGroups : public RowFieldGroups {
 public:
  explicit ScaledGroups(const AffineScales& scales)
      : RowFieldGroups(scales.group_chunks, scales.groups), scales_(scales) {}
  void point(const KernelTable& table, int64_t group_index, int64_t count, int64_t reached,
             RowFieldsPart& part) const override {
    alignas(64) static thread_local float scales[kMaxGroups * kPanelRows], zeros[kMaxGroups * kPanelRows];
    widen_scales(scales_, table, group_index, count, scales);
    widen_zeros(scales_, group_index, count, zeros);
    std::fill_n(scales + count * kPanelRows, (reached - count) * kPanelRows, 0.0F);
    std::fill_n(zeros + count * kPanelRows, (reached - count) * kPanelRows, 0.0F);
    part.scales = scales;
    part.zeros = zeros;
  }

 private:
  const AffineScales& scales_;
};

}  // namespace

void row_fields_linear(const RowFieldsView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = view.words.geometry;
  if (view.lines == nullptr || rows.batch > view.max_rows) return linear(view.words, table, rows, threads);
  threads = workers_worth_waking(threads, product_ns(g, rows.batch));
  const int batch = static_cast<int>(rows.batch <= 2 ? rows.batch : ceil_div(rows.batch, 4) * 4);
  const int64_t width = ceil_div(g.columns, line_columns(1)) * line_columns(1);
  static thread_local Scratch x_scratch;
  const float* x = padded_floats(table, rows, g.columns, width, batch, x_scratch);
  const auto dtype = static_cast<int>(view.words.dtype);
  // MEASURED on Zen 3: making a group's tables of bytes pays from one line on, in float16, which is converted, from
  // two.
  const int64_t least = line_columns(4) * (view.words.dtype == DType::kFloat16 ? 2 : 1);
  const bool whole_lines = view.groups.groups() == 1 || view.groups.group_chunks() * kChunkColumns >= least;
  MultiplyRowFields multiply = table.multiply_row_fields[dtype];
  if (view.lines->bits() == 4 && whole_lines && table.multiply_ordered[dtype] != nullptr) {
    static thread_local Scratch ordered_scratch;
    auto* ordered = ordered_scratch.get<float>(batch * width * 4);
    for (int b = 0; b < batch; ++b) table.order_x(view.words.dtype, x + b * width, width, ordered + b * width);
    x = ordered;
    multiply = table.multiply_ordered[dtype];
  }
  const RowFieldProduct product(view, table, multiply, x, width, batch);
  parallel_for(threads, g.units, [&](int64_t unit) {
    const UnitPanels panels = unit_panels(g, unit);
    alignas(64) float sums[kRowFieldRows * 16];
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      product.run(panel, sums);
      const int64_t first = panel * kPanelRows;
      finish_rows(rows, first, std::min(kPanelRows, g.rows - first), sums);
    }
  });
}

void affine_linear(const AffineView& view, const KernelTable& table, const Rows& rows, int threads) {
  // MEASURED like kRowFieldRows: with 8 bits, 16 rows take by row fields 1.1 (AVX-512) and 1.3 (AVX2) of the time that
  // they take by words, 8 rows less.
  constexpr int64_t kByteRows = 8;
  const ScaledGroups groups(view.scales);
  const bool bytes = view.lines != nullptr && view.lines->bits() == 8;
  row_fields_linear({view.words, view.lines, groups, bytes ? kByteRows : kRowFieldRows}, table, rows, threads);
}

}  // namespace tersely
