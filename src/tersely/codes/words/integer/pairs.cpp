// y = scale (w - zero) x + bias for 4-bit weights, two a byte: some columns of four rows become bytes in cache, which
// the kernel of 8-bit weights multiplies.
#include <algorithm>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/codes/words/integer/column_groups.hpp"

namespace tersely {
namespace {

constexpr int64_t kRows = 4;
struct PairProduct {
  const uint8_t* pairs;
  bool is_signed;
  int64_t matrix_rows, columns;
  const KernelTable& table;
  const IntegerRows& rows;
  const Slices<int16_t>& slices;
  const ColumnGroups& groups;

  // Rows [first, first + count), at most four.
  void multiply_rows(int64_t first, int64_t count) const {
    static thread_local Scratch scratch;
    auto* totals = scratch.get<double>(rows.batch * 2 * kRows * 8 + kRows * kSegmentColumns);
    double* values = totals + rows.batch * kRows;
    auto* bytes = reinterpret_cast<uint8_t*>(values + rows.batch * kRows);
    std::fill(totals, values + rows.batch * kRows, 0.0);
    const uint8_t* at[kRows];
    for (int64_t column = 0; column < columns; column += kSegmentColumns) {
      const int64_t stop = std::min(columns, column + kSegmentColumns);
      for (int64_t k = 0; k < count; ++k)
        table.unpack_pairs(pairs + ((first + k) * columns + column) / 2, (stop - column) / 2, is_signed,
                           bytes + k * kSegmentColumns);
      for (int64_t b = 0; b < rows.batch; ++b)
        for (int64_t from = column, next; from < stop; from = next) {
          next = std::min(stop, groups.end(from));
          for (int64_t k = 0; k < kRows; ++k) at[k] = bytes + std::min(k, count - 1) * kSegmentColumns + from - column;
          int32_t sums[2 * kRows];
          table.multiply_bytes(at, next - from, is_signed, slices.row(b) + from, slices.width, slices.count, sums);
          double* own = totals + b * kRows;
          add_sums<kRows>(slices, sums, own);
          if (next == groups.end(from))
            close_group(rows, slices, groups, from / groups.columns, b, first, count, 0, own, values + b * kRows);
        }
    }
    for (int64_t b = 0; b < rows.batch; ++b) store_values(rows, matrix_rows, b, first, count, values + b * kRows);
  }
};

}  // namespace

bool pair_integer_linear(const uint8_t* pairs, bool is_signed, int64_t matrix_rows, int64_t columns,
                         const KernelTable& table, const IntegerRows& rows, int threads) {
  Slices<int16_t> slices{};
  if (!quantise_x(rows, table, columns, slices)) return false;
  const ColumnGroups groups = column_groups(rows, slices, columns);
  const PairProduct product{pairs, is_signed, matrix_rows, columns, table, rows, slices, groups};
  threads = workers_worth_waking(threads, integer_product_ns(matrix_rows * columns, rows.batch));
  parallel_for(threads, ceil_div(matrix_rows, kPanelRows), [&](int64_t panel) {
    const int64_t last = std::min(matrix_rows, (panel + 1) * kPanelRows);
    for (int64_t row = panel * kPanelRows; row < last; row += kRows)
      product.multiply_rows(row, std::min(kRows, last - row));
  });
  return true;
}

}  // namespace tersely
