// Walking a coded matrix: positions by arithmetic and rank, and the loop over segments that every operator shares.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "laconic/formulations/split/view.hpp"
#include "laconic/kernels/table.hpp"

namespace laconic {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Fills the derived fields from elements, count, rows and columns. geometry.py is the same in Python.
inline void derive(Geometry& g) {
  g.chunks_per_panel = ceil_div(g.columns, kChunkColumns);
  g.panels_per_matrix = ceil_div(g.rows, kPanelRows);
  g.panels = g.count * g.panels_per_matrix;
  g.segments_per_panel = std::max<int64_t>(1, ceil_div(g.columns, kSegmentColumns));
  g.panels_per_unit =
      std::max<int64_t>(1, kSegmentWeights / (kChunkWeights * std::max<int64_t>(1, g.chunks_per_panel)));
  g.units_per_matrix = ceil_div(g.panels_per_matrix, g.panels_per_unit);
  g.units = g.columns == 0 ? 0 : g.count * g.units_per_matrix;
  g.segments = g.units * g.segments_per_panel;
}

inline bool panel_is_short(const Streams& s, int64_t panel) {
  return s.short_panels != nullptr && (s.short_panels[panel / 8] >> (panel % 8) & 1);
}

// Bytes before panel `panel` in the tiles: rank of the short ones among the panels before it.
inline int64_t panel_offset(const SplitView& view, int64_t panel) {
  const Parameters& p = view.parameters;
  int64_t short_count = 0;
  if (view.streams.short_panels != nullptr) {
    const int64_t word = panel / 64;
    short_count = view.streams.short_rank[word];
    for (int64_t at = word * 8; at < panel / 8; ++at) short_count += std::popcount(view.streams.short_panels[at]);
    if (panel % 8)
      short_count +=
          std::popcount(static_cast<uint8_t>(view.streams.short_panels[panel / 8] & ((1u << (panel % 8)) - 1)));
  }
  const int64_t chunks = view.geometry.chunks_per_panel;
  return (panel - short_count) * chunks * p.chunk_bytes[0] + short_count * chunks * p.chunk_bytes[1];
}

// Panels [first, last) of unit `unit`, counted through all matrices.
struct UnitPanels {
  int64_t first, last;
};
inline UnitPanels unit_panels(const Geometry& g, int64_t unit) {
  const int64_t matrix = unit / g.units_per_matrix, inside = unit % g.units_per_matrix;
  const int64_t base = matrix * g.panels_per_matrix;
  return {base + inside * g.panels_per_unit, base + std::min((inside + 1) * g.panels_per_unit, g.panels_per_matrix)};
}
inline int64_t unit_of_panel(const Geometry& g, int64_t panel) {
  return panel / g.panels_per_matrix * g.units_per_matrix + panel % g.panels_per_matrix / g.panels_per_unit;
}

// Points the cursor at what the chunks of a segment take in turn: symbols that survive, or values that are not zero;
// for a palette, at its words and at what its indices take.
inline void begin_segment(const SplitView& view, const KernelTable& table, int64_t segment, uint8_t* scratch,
                          Cursor& cursor) {
  if (view.parameters.code == Code::kPalette) {
    cursor.palette = view.palette;
    if (view.indices == nullptr) return;
    const Parameters& p = view.indices->parameters;
    cursor.index_parameters = &p;
    cursor.decode_indices = table.codes[static_cast<int>(DType::kIndex)][code_index(p)][0].decode_words;
    return table.expand_levels(*view.indices, segment, scratch, cursor);
  }
  if (view.parameters.code != Code::kBitmap) return table.expand_levels(view, segment, scratch, cursor);
  const uint64_t* entry = view.streams.directory + segment;
  const auto word_bytes = static_cast<uint64_t>(kFields[static_cast<int>(view.parameters.dtype)].word_bytes);
  cursor.survivors = view.streams.escapes + entry[0] * word_bytes;
  cursor.survivors_end = view.streams.escapes + entry[1] * word_bytes;
}

// Bytes of scratch that expand_levels needs; one per worker.
inline constexpr int64_t kExpandScratchBytes = 2 * kLevelScratchBytes;

// Calls f(panel, first_chunk, chunks, kernels, cursor) for each panel and segment of a unit, in order; f must decode
// all its chunks with `kernels`, which moves the cursor on.
template <class F>
void walk_unit(const SplitView& view, const KernelTable& table, int64_t unit, uint8_t* scratch, F&& f) {
  const Geometry& g = view.geometry;
  const Parameters& p = view.parameters;
  const UnitPanels panels = unit_panels(g, unit);
  const auto& kernels = table.codes[static_cast<int>(p.dtype)][code_index(p)];
  Cursor cursor{view.streams.tiles + panel_offset(view, panels.first), nullptr, nullptr};
  for (int64_t s = 0; s < g.segments_per_panel; ++s) {
    begin_segment(view, table, unit * g.segments_per_panel + s, scratch, cursor);
    const int64_t first_chunk = s * (kSegmentColumns / kChunkColumns);
    const int64_t chunks = g.segments_per_panel == 1
                               ? g.chunks_per_panel
                               : std::min(kSegmentColumns / kChunkColumns, g.chunks_per_panel - first_chunk);
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      const Tail tail = panel_is_short(view.streams, panel) ? p.short_tail : p.tail;
      f(panel, first_chunk, chunks, kernels[static_cast<int>(tail)], cursor);
    }
  }
}

}  // namespace laconic
