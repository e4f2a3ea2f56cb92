// The weights of a coded matrix as float32 panels, a block of columns at a time: what products read that use a weight
// many times and so decode it to scratch. Weights are exact whatever the caller computes under: some are a scale times
// a number, and where subnormals are flushed a subnormal scale would be, too.
#pragma once

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {

// One or two panels that lie side by side, columns [first_column, first_column + columns) of each.
struct FloatBlock {
  int64_t panel;
  int panels;
  int64_t first_column, columns;
  const float* weights;  // [panels][...][16], columns from first_column on
  int64_t panel_stride;
  int early = 0;  // pixels that these columns have been multiplied by already
};

// Of a walk in which pixels are multiplied while weights are decoded: f(panel, column) says which, by what follows from
// that column on of two panels.
struct NoEarlyPixels {
  bool wanted(int64_t) const { return false; }
  EarlyPixels operator()(int64_t, int64_t) const { return {}; }
};

// Items are what one worker takes: two units of one panel each, or one unit of many narrow panels.
class FloatPanels {
 public:
  FloatPanels(const MatrixView& view, const KernelTable& table)
      : view_(view), table_(table), side_by_side_(view.geometry.panels_per_unit == 1) {}

  int64_t items() const { return side_by_side_ ? ceil_div(view_.geometry.units, 2) : view_.geometry.units; }

  // Calls f(FloatBlock) for the blocks of an item, in column order for each panel. block_columns: at most so many, in
  // whole tiles of chunks; where the matrix has no more, a block is whole panels. early(panel, column): the pixels to
  // multiply while columns from that one on are decoded, where kernels can; blocks say how many were.
  template <class Early, class F>
  void walk(int64_t item, int64_t block_columns, const Early& early, F&& f) const {
    static thread_local Scratch scratch;
    side_by_side_ ? walk_side_by_side(item, block_columns, scratch, early, f)
                  : walk_in_turn(item, block_columns, scratch, f);
  }
  template <class F>
  void walk(int64_t item, int64_t block_columns, F&& f) const {
    walk(item, block_columns, NoEarlyPixels{}, f);
  }

 private:
  static constexpr int64_t kExpand = (kExpandScratchBytes + 63) / 64 * 64;

  const CodeKernels& kernels(int64_t panel) const {
    return view_.source.kernels(table_)[static_cast<int>(view_.source.tail(panel))];
  }
  // What decodes two panels side by side and multiplies them by pixels meanwhile; null where nothing does.
  DecodeMultiply together(int64_t panel, int count) const {
    const bool alike = count == 2 && view_.source.tail(panel) == view_.source.tail(panel + 1);
    return alike ? kernels(panel).decode_multiply : nullptr;
  }

  void begin(int64_t segment, uint8_t* scratch, Cursor& cursor) const {
    const DefaultFloats exact;
    begin_segment(view_.source, table_, segment, scratch, cursor);
  }

  void decode(int64_t panel, Cursor& cursor, int64_t chunks, float* to) const {
    const DefaultFloats exact;
    kernels(panel).decode_floats(view_.source.parameters(), cursor, chunks, to);
  }

  template <class Early, class F>
  void walk_side_by_side(int64_t item, int64_t block_columns, Scratch& scratch, const Early& early, F& f) const {
    const Geometry& g = view_.geometry;
    const int64_t stride = block_columns * kPanelRows, first = item * 2;
    auto* memory = scratch.get<uint8_t>(2 * kExpand + 2 * stride * 4);
    auto* weights = reinterpret_cast<float*>(memory + 2 * kExpand);
    const int count = static_cast<int>(std::min<int64_t>(2, g.units - first));
    const int64_t panel = unit_panels(g, first).first;
    const DecodeMultiply both = early.wanted(panel) ? together(panel, count) : nullptr;
    const int pixels = both == nullptr ? 0 : kEarlyPixels;
    Cursor cursors[2] = {{nullptr, nullptr, nullptr}, {nullptr, nullptr, nullptr}};
    const bool whole = block_columns >= g.columns;
    for (int64_t s = 0; s < g.segments_per_panel; ++s) {
      for (int k = 0; k < count; ++k) begin((first + k) * g.segments_per_panel + s, memory + k * kExpand, cursors[k]);
      const int64_t begin = s * kSegmentColumns, end = std::min(begin + kSegmentColumns, g.columns);
      for (int64_t column = begin; column < end; column += block_columns) {
        const int64_t columns = std::min(block_columns, end - column);
        float* to = weights + (whole ? column * kPanelRows : 0);
        const int64_t chunks = ceil_div(columns, kChunkColumns);
        if (both != nullptr) {  // it decodes with integers alone, so subnormal weights are what they are
          both(view_.source.parameters(), cursors, chunks, to, stride, early(panel, column));
        } else {
          for (int k = 0; k < count; ++k) decode(panel + k, cursors[k], chunks, to + k * stride);
        }
        if (!whole) f(FloatBlock{panel, count, column, columns, weights, stride, pixels});
      }
    }
    if (whole) f(FloatBlock{panel, count, 0, g.columns, weights, stride, pixels});
  }

  template <class F>
  void walk_in_turn(int64_t unit, int64_t block_columns, Scratch& scratch, F& f) const {
    const Geometry& g = view_.geometry;
    const int64_t stride = g.chunks_per_panel * kChunkWeights;
    auto* memory = scratch.get<uint8_t>(kExpand + 2 * stride * 4);
    auto* weights = reinterpret_cast<float*>(memory + kExpand);
    const UnitPanels panels = unit_panels(g, unit);
    Cursor cursor{nullptr, nullptr, nullptr};
    begin(unit, memory, cursor);
    for (int64_t panel = panels.first; panel < panels.last; panel += 2) {
      const int count = static_cast<int>(std::min<int64_t>(2, panels.last - panel));
      for (int k = 0; k < count; ++k) decode(panel + k, cursor, g.chunks_per_panel, weights + k * stride);
      for (int64_t column = 0; column < g.columns; column += block_columns)
        f(FloatBlock{panel, count, column, std::min(block_columns, g.columns - column), weights + column * kPanelRows,
                     stride});
    }
  }

  const MatrixView& view_;
  const KernelTable& table_;
  const bool side_by_side_;
};

}  // namespace tersely
