// y = x w on coded weights: gradients, and weights stored [in, out]. A panel gives 16 terms to every y, so workers
// would race for y: panels are dealt to a number of groups that depends on the batch only, each group sums its own y,
// and the groups are added in order. So the bits of y do not depend on the number of threads either.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"
#include "tersely/backends/cpu/matrix/rows.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {
namespace {

constexpr int64_t kBlockChunks = 64;
constexpr int64_t kBlockColumns = kBlockChunks * kChunkColumns;

// x as [panels][batch][16] floats, zeros beyond its rows.
const float* panel_floats(const KernelTable& table, const Rows& rows, const Geometry& g, Scratch& scratch) {
  const int64_t width = g.panels * kPanelRows;
  auto* out = scratch.get<float>((rows.batch * width + width) * 4);
  float* row = out + rows.batch * width;
  for (int64_t b = 0; b < rows.batch; ++b) {
    std::memset(row + g.rows, 0, static_cast<size_t>(width - g.rows) * 4);
    if (rows.dtype == DType::kFloat32) {
      std::memcpy(row, rows.row(b), static_cast<size_t>(g.rows) * 4);
    } else {
      table.widen_words(rows.dtype, rows.row(b), g.rows, row);
    }
    for (int64_t panel = 0; panel < g.panels; ++panel)
      std::memcpy(out + (panel * rows.batch + b) * 16, row + panel * 16, 64);
  }
  return out;
}

}  // namespace

void linear_transposed(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = view.geometry;
  const Parameters& p = view.source.parameters();
  const int word_bytes = kFields[static_cast<int>(p.dtype)].word_bytes;
  const int64_t width = g.chunks_per_panel * kChunkColumns;
  threads = workers_worth_waking(threads, product_ns(g, rows.batch));
  const int64_t groups = std::min<int64_t>(rows.batch <= 16 ? 16 : 4, g.units);
  static thread_local Scratch x_scratch, y_scratch;
  const float* x = panel_floats(table, rows, g, x_scratch);
  float* y = y_scratch.get<float>(groups * rows.batch * width * 4);
  parallel_for(threads, groups, [&](int64_t group) {
    static thread_local Scratch scratch;
    constexpr int64_t kExpand = (kExpandScratchBytes + 63) / 64 * 64;
    constexpr int64_t kBlockBytes = kBlockChunks * kChunkWeights * 4;
    auto* memory = scratch.get<uint8_t>(kExpand + 3 * kBlockBytes);
    uint8_t* words = memory + kExpand;
    uint8_t* row_words = words + kBlockBytes;
    auto* floats = reinterpret_cast<float*>(row_words + kBlockBytes);
    float* own = y + group * rows.batch * width;
    std::memset(own, 0, static_cast<size_t>(rows.batch * width) * 4);
    for (int64_t unit = g.units * group / groups; unit < g.units * (group + 1) / groups; ++unit) {
      walk_unit(view, table, unit, memory,
                [&](int64_t panel, int64_t first_chunk, int64_t chunks, const CodeKernels& kernels, Cursor& cursor) {
                  for (int64_t done = 0; done < chunks; done += kBlockChunks) {
                    const int64_t block = std::min(kBlockChunks, chunks - done);
                    const int64_t columns = block * kChunkColumns;
                    kernels.decode_words(p, cursor, block, words);
                    uint8_t* rows_to = p.dtype == DType::kFloat32 ? reinterpret_cast<uint8_t*>(floats) : row_words;
                    table.store_rows(p.dtype, words, kPanelRows, columns, rows_to, kBlockColumns * word_bytes);
                    if (p.dtype != DType::kFloat32)
                      for (int64_t row = 0; row < kPanelRows; ++row)
                        table.widen_words(p.dtype, row_words + row * kBlockColumns * word_bytes, columns,
                                          floats + row * kBlockColumns);
                    table.multiply_rows(floats, kBlockColumns, x + panel * rows.batch * 16, rows.batch, columns,
                                        own + (first_chunk + done) * kChunkColumns, width);
                  }
                });
    }
  });
  for (int64_t b = 0; b < rows.batch; ++b) {
    float* total = y + b * width;
    for (int64_t group = 1; group < groups; ++group) {
      const float* part = y + (group * rows.batch + b) * width;
      for (int64_t column = 0; column < g.columns; ++column) total[column] += part[column];
    }
    finish_row(rows, b, 0, g.columns, total);
  }
}

}  // namespace tersely
