// See grid.hpp.
#include "tersely/codes/words/palette/grid.hpp"

namespace tersely {
namespace {

// MEASURED on Zen 5, two threads, 4 to 8 bits: with 8 rows numbers take 0.82 to 0.95 of the time of words under AVX-512
// and 0.7 to 0.8 under AVX2, with 12 and 16 about as long. One limit for all instruction sets, so that bits stay equal.
constexpr int64_t kGridRows = 8;
// An integer of x has at least 14 bits on average then: what slicing x adds to y's error is at most 2^-15 of
// sum |w| |x|, and about 2^-15 / sqrt(columns) of it where errors are of either sign, as those of float32 sums are.
constexpr int64_t kMaxPeak = 256;

}  // namespace

void grid_linear(const GridView& view, const KernelTable& table, const Rows& rows, int threads) {
  const IntegerRows integer_rows{false,      rows.dtype, rows.batch, rows.x,     rows.y.bias, &view.scale,
                                 &view.zero, 0,          0,          rows.y.out, kMaxPeak};
  const Geometry& g = view.words.geometry;
  const bool side_by_side = rows.batch == 1 || (rows.x_stride == g.columns && rows.y.row_stride == g.rows);
  // Infinities and NaN are no integers, and small x beside large ones no good ones: sums of floats.
  if (rows.batch <= kGridRows && rows.plain && side_by_side &&
      integer_linear(view.numbers, table, integer_rows, threads))
    return;
  linear(view.words, table, rows, threads);
}

}  // namespace tersely
