// Products of gaps with integers: entries are visited one by one, each multiplied by both slices of its column of
// x (slices.hpp). Sums are exact, so the bits of y are those that dense weights give; weights of zero are left out of
// sums that they would not change, and what a zero point takes off them is in the sum of x.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/codes/selection/sparse/gaps.hpp"
#include "tersely/codes/words/integer/slices.hpp"

namespace tersely {
namespace {

constexpr int64_t kBatchBlock = 8;
// Above as many rows of x, eight are packed.
constexpr int64_t kApart = 2;

// Both slices of each column in a dword: blocks of kBatchBlock rows, each [rows][width] or packed.
const uint32_t* paired(const Slices<int16_t>& slices, int64_t batch) {
  static thread_local Scratch scratch;
  const int64_t padded = ceil_div(batch, kBatchBlock) * kBatchBlock, width = slices.width;
  auto* out = scratch.get<uint32_t>(padded * width * 4);
  for (int64_t first = 0; first < batch; first += kBatchBlock) {
    const int64_t count = std::min(kBatchBlock, batch - first);
    const bool packed = count > kApart;
    uint32_t* block = out + first * width;
    if (packed && count < kBatchBlock) std::memset(block, 0, static_cast<size_t>(kBatchBlock * width) * 4);
    for (int64_t b = 0; b < count; ++b) {
      const int16_t* low = slices.row(first + b);
      for (int64_t i = 0; i < width; ++i) {
        const uint16_t high = slices.count == 1 ? uint16_t{0} : static_cast<uint16_t>(low[width + i]);
        block[packed ? i * kBatchBlock + b : b * width + i] =
            static_cast<uint32_t>(high) << 16 | static_cast<uint16_t>(low[i]);
      }
    }
  }
  return out;
}

}  // namespace

bool gaps_integer_linear(const GapView& view, bool is_signed, const KernelTable& table, const IntegerRows& rows,
                         int threads) {
  const Geometry& g = view.geometry;
  Slices<int16_t> slices{};
  if (!quantise_x(rows, table, g.columns, slices)) return false;
  const uint32_t* x = paired(slices, rows.batch);
  parallel_for(workers_worth_waking(threads, entries_ns(view, rows.batch)), g.panels, [&](int64_t group) {
    const GapEntries entries = stored_entries(view, table, group);
    for (int64_t first = 0; first < rows.batch; first += kBatchBlock) {
      int64_t totals[kBatchBlock * 2 * kPanelRows];
      const int64_t count = std::min(kBatchBlock, rows.batch - first);
      table.multiply_gaps(entries, is_signed, x + first * slices.width, slices.width,
                          static_cast<int>(count > kApart ? kBatchBlock : count), totals);
      for (int lane = 0; lane < kPanelRows; ++lane) {
        const int64_t row = matrix_row(g, view.rows, group, lane);
        for (int64_t b = 0; b < count && row < g.rows; ++b)
          finish(rows, slices, g.rows, first + b, row, 1, 0, totals + b * 2 * kPanelRows + lane);
      }
    }
  });
  return true;
}

}  // namespace tersely
