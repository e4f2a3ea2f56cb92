// The words of a panel row by row.
#pragma once

#include <algorithm>

#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"

namespace tersely {

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
