// See grid.hpp.
#include "laconic/formulations/palette/grid.hpp"

namespace laconic {
namespace {

// MEASURED on Zen 5, two threads, 4 to 8 bits: with 8 rows numbers take 0.82 to 0.95 of the time of words under AVX-512
// and 0.7 to 0.8 under AVX2, with 12 and 16 about as long. One limit for all instruction sets, so that bits stay equal.
constexpr int64_t kGridRows = 8;

}  // namespace

void grid_linear(const GridView& view, const KernelTable& table, const Rows& rows, int threads) {
  const IntegerRows whole{false, rows.dtype, rows.batch, rows.x, rows.bias, &view.scale, &view.zero, 0, 0, rows.out};
  // Infinities and NaN are no whole numbers: these products are sums of floats.
  if (rows.batch <= kGridRows && integer_linear(view.numbers, table, whole, threads)) return;
  linear(view.words, table, rows, threads);
}

}  // namespace laconic
