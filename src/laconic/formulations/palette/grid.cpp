// See grid.hpp.
#include "laconic/formulations/palette/grid.hpp"

namespace laconic {
namespace {

constexpr int64_t kGridRows = 8;

}  // namespace

void grid_linear(const GridView& view, const KernelTable& table, const Rows& rows, int threads) {
  const IntegerRows whole{false, rows.dtype, rows.batch, rows.x, rows.bias, &view.scale, &view.zero, 0, 0, rows.out};
  // Infinities and NaN are no whole numbers: these products are sums of floats.
  if (rows.batch <= kGridRows && integer_linear(view.numbers, table, whole, threads)) return;
  linear(view.words, table, rows, threads);
}

}  // namespace laconic
