// Opening matrices under split, and parts of them.
#include "tersely/codes/words/split/split_matrix.hpp"

namespace tersely {

std::unique_ptr<CodedMatrix> SplitMatrix::part(int64_t matrix, int64_t first, int64_t last) const {
  const Geometry& g = geometry();
  require(matrix >= 0 && matrix < g.count && first >= 0 && first < last && last <= g.rows, "part out of range");
  const int64_t unit = kPanelRows * g.panels_per_unit;
  const bool all = first == 0 && last == g.rows;
  if (g.column_offsets != nullptr ||
      (!all && (g.column_stride != 1 || first % unit || (last % unit && last != g.rows))))
    return nullptr;
  Seen own{g, nullptr};
  own.geometry.count = 1;
  own.geometry.rows = last - first;
  own.geometry.elements = own.geometry.rows * g.columns;
  derive(own.geometry);
  const int64_t first_panel = matrix * g.panels_per_matrix + first / kPanelRows;
  return std::make_unique<SplitMatrix>(own, std::make_unique<const SplitSource>(split_, own.geometry, first_panel));
}

std::unique_ptr<CodedMatrix> open_split(const Opening& opening) {
  const DType dtype = dtype_of(opening.dtype);
  return std::make_unique<SplitMatrix>(opening.seen,
                                       split_source(opening.geometry(), opening.node, dtype, opening.components));
}

}  // namespace tersely
