// Rows by number, in any order: what an embedding reads. Each panel is decoded at most once, panels that nobody asks
// for not at all.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"

namespace tersely {

int64_t pick_rows(const MatrixView& view, const KernelTable& table, const int64_t* wanted, int64_t count, uint8_t* out,
                  int threads) {
  const Geometry& g = view.geometry;
  const int64_t bytes = g.columns * word_bytes_of(view.dtype);
  std::vector<int64_t> order(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    if (wanted[i] < 0 || wanted[i] >= g.rows) return i;
    order[i] = i;
  }
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return wanted[a] < wanted[b]; });
  std::vector<int64_t> starts;  // of the runs that share a panel
  for (int64_t i = 0; i < count; ++i)
    if (i == 0 || wanted[order[i]] / kPanelRows != wanted[order[i - 1]] / kPanelRows) starts.push_back(i);
  starts.push_back(count);
  parallel_for(threads, static_cast<int64_t>(starts.size()) - 1, [&](int64_t run) {
    static thread_local Scratch scratch;
    const int64_t first = wanted[order[starts[run]]], last = wanted[order[starts[run + 1] - 1]] + 1;
    const int64_t panel = first / kPanelRows;
    auto* rows = scratch.get<uint8_t>(kPanelRows * bytes);
    decode_window(view, table, panel, panel + 1, first * g.columns, (last - first) * g.columns, rows, 1);
    for (int64_t i = starts[run]; i < starts[run + 1]; ++i)
      std::memcpy(out + order[i] * bytes, rows + (wanted[order[i]] - first) * bytes, static_cast<size_t>(bytes));
  });
  return -1;
}

}  // namespace tersely
