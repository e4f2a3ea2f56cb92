// Reading a panel's words out of a tensor, whatever its strides: the front half of the encoder.
#pragma once

#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/matrix/geometry.hpp"

namespace tersely {

// Element offset of (matrix, row, column 0).
inline int64_t row_offset(const Geometry& g, int64_t panel, int row) {
  const int64_t matrix = panel / g.panels_per_matrix;
  return matrix * g.matrix_stride + (panel % g.panels_per_matrix * kPanelRows + row) * g.row_stride;
}
inline int64_t column_offset(const Geometry& g, int64_t column) {
  return g.column_offsets != nullptr ? g.column_offsets[column] : column * g.column_stride;
}

// Whether (panel, row, column) holds a weight.
inline bool is_real(const Geometry& g, int64_t panel, int row, int64_t column) {
  return panel % g.panels_per_matrix * kPanelRows + row < g.rows && column < g.columns &&
         row_offset(g, panel, row) + column_offset(g, column) < g.elements;
}

// Copies 16 rows x `columns` columns, up to 32, to tile[column][row]; padding becomes zero. Returns whether all
// positions are real.
template <class Word>
bool gather_tile(const uint8_t* words, const Geometry& g, int64_t panel, int64_t first_column, int columns,
                 Word (*tile)[16]) {
  const int real_columns = static_cast<int>(std::clamp<int64_t>(g.columns - first_column, 0, columns));
  const int rows = static_cast<int>(std::min<int64_t>(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows));
  bool all = rows == kPanelRows && real_columns == columns;
  const auto* in = reinterpret_cast<const Word*>(words);
  if (!all) std::memset(tile, 0, sizeof(Word) * 16 * columns);
  for (int row = 0; row < rows; ++row) {
    const int64_t base = row_offset(g, panel, row);
    if (g.column_offsets == nullptr && g.column_stride == 1) {
      const int64_t left = g.elements - (base + first_column);
      const int available = static_cast<int>(std::clamp<int64_t>(left, 0, real_columns));
      if (available < real_columns) {
        all = false;
        for (int c = available; c < real_columns; ++c) tile[c][row] = 0;
      }
      const Word* from = in + base + first_column;
      for (int c = 0; c < available; ++c) tile[c][row] = from[c];
    } else {
      for (int c = 0; c < real_columns; ++c) tile[c][row] = in[base + column_offset(g, first_column + c)];
    }
  }
  return all;
}

}  // namespace tersely
