// The weights of a coded matrix of bfloat16 as panels of pairs of columns: what products read that multiply pairs and
// use a weight many times. A panel is decoded whole: with two bytes a weight, two panels stay in the second-level
// cache, from which their rows come in order.
#pragma once

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {

// One or two panels that lie side by side, all columns of each.
struct PairsOfPanels {
  int64_t panel;
  int panels;
  const uint16_t* weights;  // [panels][pair][16][2]
  int64_t panel_stride;
};

// Items are what one worker takes: two units of one panel each, or one unit of many narrow panels.
class PairPanels {
 public:
  // view: of bfloat16.
  PairPanels(const MatrixView& view, const KernelTable& table)
      : view_(view), table_(table), side_by_side_(view.geometry.panels_per_unit == 1) {}

  int64_t items() const { return side_by_side_ ? ceil_div(view_.geometry.units, 2) : view_.geometry.units; }

  // Calls f(PairsOfPanels) for the panels of an item.
  template <class F>
  void walk(int64_t item, F&& f) const {
    static thread_local Scratch scratch;
    const Geometry& g = view_.geometry;
    const int64_t stride = g.chunks_per_panel * kChunkWeights;
    auto* memory = scratch.get<uint8_t>(kExpand + 2 * stride * 2);
    auto* weights = reinterpret_cast<uint16_t*>(memory + kExpand);
    const int64_t first = side_by_side_ ? item * 2 : item, last = std::min(first + (side_by_side_ ? 2 : 1), g.units);
    const int64_t end = unit_panels(g, last - 1).last;
    int count = 0;
    for (int64_t unit = first; unit < last; ++unit) {
      const UnitPanels panels = unit_panels(g, unit);
      Cursor cursor{nullptr, nullptr, nullptr};
      for (int64_t panel = panels.first; panel < panels.last; ++panel) {
        decode(unit, panel, panel == panels.first, memory, cursor, weights + count * stride);
        if (++count < 2 && panel + 1 < end) continue;
        f(PairsOfPanels{panel + 1 - count, count, weights, stride});
        count = 0;
      }
    }
  }

 private:
  static constexpr int64_t kExpand = (kExpandScratchBytes + 63) / 64 * 64;

  // A panel of several segments is a unit of its own; where a segment has several panels, one follows the other.
  void decode(int64_t unit, int64_t panel, bool begins, uint8_t* scratch, Cursor& cursor, uint16_t* to) const {
    const DefaultFloats exact;  // some weights are a scale, which may be subnormal, times a number
    const Geometry& g = view_.geometry;
    const DecodeWords words = view_.source.kernels(table_)[static_cast<int>(view_.source.tail(panel))].decode_words;
    for (int64_t s = 0; s < g.segments_per_panel; ++s) {
      const int64_t chunk = s * (kSegmentColumns / kChunkColumns);
      const int64_t chunks = std::min(kSegmentColumns / kChunkColumns, g.chunks_per_panel - chunk);
      if (begins) begin_segment(view_.source, table_, unit * g.segments_per_panel + s, scratch, cursor);
      words(view_.source.parameters(), cursor, chunks, to + chunk * kChunkWeights);
    }
  }

  const MatrixView& view_;
  const KernelTable& table_;
  const bool side_by_side_;
};

}  // namespace tersely
