// How a tensor is seen as matrices, and where panels, units and segments lie: plain arithmetic. geometry.py is the same
// in Python.
#pragma once

#include <algorithm>

#include "tersely/backends/cpu/kernels/layout.hpp"

namespace tersely {

struct Geometry {
  int64_t elements, count, rows, columns;
  int64_t matrix_stride, row_stride, column_stride;  // in elements
  const int64_t* column_offsets;                     // element offset of each column, or null: column_stride
  int64_t chunks_per_panel, panels_per_matrix, panels, panels_per_unit, units_per_matrix, units;
  int64_t segments_per_panel, segments;
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Fills the derived fields from elements, count, rows and columns.
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

// Chunks of a segment.
inline int64_t segment_chunks(const Geometry& g, int64_t segment) {
  constexpr int64_t kWhole = kSegmentColumns / kChunkColumns;
  if (g.segments_per_panel > 1) return std::min(kWhole, g.chunks_per_panel - segment % g.segments_per_panel * kWhole);
  const UnitPanels panels = unit_panels(g, segment);
  return (panels.last - panels.first) * g.chunks_per_panel;
}

// Panels of a segment, and the chunks of each that are in it.
struct SegmentPart {
  int64_t first_panel, panels, first_chunk, chunks;
};
inline SegmentPart segment_part(const Geometry& g, int64_t segment) {
  const int64_t unit = segment / g.segments_per_panel;
  const UnitPanels panels = unit_panels(g, unit);
  const int64_t first = segment % g.segments_per_panel * (kSegmentColumns / kChunkColumns);
  const int64_t chunks = g.segments_per_panel == 1 ? g.chunks_per_panel : segment_chunks(g, segment);
  return {panels.first, panels.last - panels.first, first, chunks};
}

// Segment of (panel, column), and its chunk in there.
struct ChunkPlace {
  int64_t segment, chunk;
};
inline ChunkPlace chunk_place(const Geometry& g, int64_t panel, int64_t column) {
  constexpr int64_t kWhole = kSegmentColumns / kChunkColumns;
  const int64_t unit = unit_of_panel(g, panel), chunk = column / kChunkColumns;
  if (g.segments_per_panel == 1) return {unit, (panel - unit_panels(g, unit).first) * g.chunks_per_panel + chunk};
  return {unit * g.segments_per_panel + chunk / kWhole, chunk % kWhole};
}

}  // namespace tersely
