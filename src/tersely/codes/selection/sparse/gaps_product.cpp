// Products by visiting the entries of a row, not its columns. One worker takes a group of 16 lanes from its first entry
// to its last, so the bits of y depend on instruction set and batch only, not on the number of threads. Fillers take no
// part, whatever x holds.
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/backends/cpu/matrix/rows.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/selection/sparse/gaps.hpp"

namespace tersely {

int64_t matrix_row(const Geometry& g, const uint8_t* rows, int64_t group, int lane) {
  const int64_t inside = group % g.panels_per_matrix;
  return inside / (kWindowRows / kPanelRows) * kWindowRows + rows[group * 16 + lane];
}

int64_t entries_ns(const GapView& view, int64_t batch) {
  return static_cast<int64_t>(view.directory[view.geometry.panels]) * 64 * (batch + 4) / 12;
}

void gaps_linear(const GapView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = view.geometry;
  const auto dtype = static_cast<int>(view.dtype);
  // MEASURED on Zen 4, 4096 x 4096 with 90 % zeros, two threads, 16 rows of x: rounding a number to 16 bits for each 16
  // sums takes 2.7 to 3.0 ms, by words 2.1 to 2.2 ms.
  const bool packed = rows.batch > 4, narrow = view.dtype != DType::kFloat32;
  const bool by_numbers = view.scaling != nullptr && view.scaling->groups == 1 && !(packed && narrow);
  const GapKernels& kernels = by_numbers ? table.gap_numbers[dtype] : table.gaps[dtype];
  const auto entries_of = by_numbers ? stored_entries : word_entries;
  threads = workers_worth_waking(threads, entries_ns(view, rows.batch));
  static thread_local Scratch x_scratch;
  if (!packed) {
    const int64_t block = rows.batch == 3 ? 4 : rows.batch;
    const float* x = padded_floats(table, rows, g.columns, g.columns, block, x_scratch);
    parallel_for(threads, g.panels, [&](int64_t group) {
      alignas(64) float sums[4 * 16];
      kernels.product[block == 1 ? 0 : block == 2 ? 1 : 2](entries_of(view, table, group), x, g.columns, sums);
      for (int lane = 0; lane < 16; ++lane) {
        const int64_t row = matrix_row(g, view.rows, group, lane);
        for (int64_t b = 0; b < rows.batch && row < g.rows; ++b) finish_row(rows, b, row, 1, sums + b * 16 + lane);
      }
    });
    return;
  }
  constexpr int64_t kBlock = 16;
  const int64_t blocks = ceil_div(rows.batch, kBlock), width = g.columns + 1;  // a column of zeros for fillers
  const auto* x = reinterpret_cast<const float*>(
      packed_floats(table, rows, g.columns, width, whole_blocks(rows.batch, kBlock), threads, x_scratch));
  parallel_for(threads, g.panels, [&](int64_t group) {
    alignas(64) float sums[16 * 16];
    const GapEntries entries = entries_of(view, table, group);
    for (int64_t block = 0; block < blocks; ++block) {
      kernels.product_packed(entries, x + block * width * kBlock, sums);
      for (int lane = 0; lane < 16; ++lane) {
        const int64_t row = matrix_row(g, view.rows, group, lane);
        for (int64_t b = block * kBlock; b < std::min(rows.batch, (block + 1) * kBlock) && row < g.rows; ++b)
          finish_row(rows, b, row, 1, sums + lane * kBlock + b % kBlock);
      }
    }
  });
}

// As in split: groups are dealt to a number of shares that depends on the batch only, each sums its own y, and the
// shares are added in order.
void gaps_linear_transposed(const GapView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = view.geometry;
  const int64_t batch = rows.batch, shares = std::min<int64_t>(batch <= 16 ? 16 : 4, g.panels);
  const int64_t word_bytes = kFields[static_cast<int>(view.dtype)].word_bytes;
  threads = workers_worth_waking(threads, entries_ns(view, batch));
  static thread_local Scratch x_scratch, y_scratch, line_scratch;
  const float* x = padded_floats(table, rows, g.rows, g.rows, batch, x_scratch);
  float* y = y_scratch.get<float>(shares * g.columns * batch * 4);
  parallel_for(threads, shares, [&](int64_t share) {
    static thread_local Scratch scratch;
    float* lane_x = scratch.get<float>(batch * 4);
    float* own = y + share * g.columns * batch;
    std::memset(own, 0, static_cast<size_t>(g.columns * batch) * 4);
    for (int64_t group = g.panels * share / shares; group < g.panels * (share + 1) / shares; ++group) {
      const GapEntries entries = word_entries(view, table, group);
      for (int lane = 0; lane < 16; ++lane) {
        const int64_t row = matrix_row(g, view.rows, group, lane);
        if (row >= g.rows) continue;
        for (int64_t b = 0; b < batch; ++b) lane_x[b] = x[b * g.rows + row];
        int64_t column = 0;
        for (int64_t step = 0; step < entries.blocks * 4; ++step) {
          column = std::min(column + entries.gaps[step * 16 + lane], entries.last_column);
          const uint8_t* value = entries.values + (step * 16 + lane) * word_bytes;
          uint32_t word = 0;
          std::memcpy(&word, value, static_cast<size_t>(word_bytes));
          if (word == 0) continue;
          float weight;
          table.widen_words(view.dtype, value, 1, &weight);
          for (int64_t b = 0; b < batch; ++b) own[column * batch + b] += weight * lane_x[b];
        }
      }
    }
  });
  float* line = line_scratch.get<float>(g.columns * 4);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t column = 0; column < g.columns; ++column) line[column] = y[column * batch + b];
    for (int64_t share = 1; share < shares; ++share)
      for (int64_t column = 0; column < g.columns; ++column)
        line[column] += y[(share * g.columns + column) * batch + b];
    finish_row(rows, b, 0, g.columns, line);
  }
}

}  // namespace tersely
