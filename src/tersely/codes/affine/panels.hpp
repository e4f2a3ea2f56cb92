// Where the panels of a segment lie, and their words row by row.
#pragma once

#include <algorithm>

#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {

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

// The rows of a panel, side by side: words as 32 bits.
inline int64_t copy_panel(const uint8_t* words, DType dtype, const Geometry& g, int64_t panel, uint32_t* out) {
  const int64_t rows = std::min(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows);
  const bool wide = dtype == DType::kFloat32;
  const auto at = [&](int64_t element) {
    return wide ? reinterpret_cast<const uint32_t*>(words)[element]
                : uint32_t{reinterpret_cast<const uint16_t*>(words)[element]};
  };
  if (g.row_stride == 1) {
    for (int64_t column = 0; column < g.columns; ++column)
      for (int64_t row = 0; row < rows; ++row)
        out[row * g.columns + column] = at(row_offset(g, panel, static_cast<int>(row)) + column_offset(g, column));
  } else {
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < g.columns; ++column)
        out[row * g.columns + column] = at(row_offset(g, panel, static_cast<int>(row)) + column_offset(g, column));
  }
  return rows;
}

}  // namespace tersely
