// Products on blocks. A worker takes a panel from its first block to its last, so the bits of y depend on instruction
// set and batch only, not on the number of threads. Blocks that are not stored take no part, whatever x holds; rows
// that are alike are multiplied once.
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/rows.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/selection/blocks/panel.hpp"

namespace tersely {
namespace {

constexpr int64_t kRunColumns = 256;  // decoded to 16 KB of floats, which stay in the first cache
constexpr int kBatchBlock = 8;

int64_t words_bytes(const BlockView& v, int64_t words) { return words * kFields[static_cast<int>(v.dtype)].word_bytes; }

// Weights that a product visits, for waking workers.
int64_t work_ns(const BlockView& v, int64_t batch) {
  if (v.masks == nullptr && v.shape != BlockShape::kRow) return product_ns(v.geometry, batch);
  const int64_t height = v.shape == BlockShape::kRow ? 1 : 16;
  return v.count * height * block_columns(v.geometry, v.shape) * (batch + 4) / 40;
}

// The dictionary of blocks of one row as floats: read for every position, so widened once.
const float* widened(const BlockView& v, const KernelTable& table, Scratch& scratch) {
  if (!is_one_high(v.shape)) return nullptr;
  const int64_t words = v.count * block_columns(v.geometry, v.shape);
  auto* out = scratch.get<float>(words * 4 + 64);
  if (v.dtype == DType::kFloat32) {
    std::memcpy(out, v.words, static_cast<size_t>(words) * 4);
  } else {
    table.widen_words(v.dtype, v.words, words, out);
  }
  return out;
}

void widen_block(const BlockView& v, const KernelTable& table, int64_t id, int64_t words, float* out) {
  const uint8_t* from = v.words + words_bytes(v, id * words);
  if (v.dtype == DType::kFloat32) {
    std::memcpy(out, from, static_cast<size_t>(words) * 4);
  } else {
    table.widen_words(v.dtype, from, words, out);
  }
}

int64_t padded_columns(const BlockView& v) {
  const int64_t width = block_columns(v.geometry, v.shape);
  return ceil_div(v.geometry.columns, width) * width;
}

// Calls f(first column, columns, floats [columns][16]) for runs of neighbouring columns of a panel that have blocks.
template <class F>
void for_runs(const BlockView& v, const KernelTable& table, const float* wide, int64_t panel, uint8_t* list,
              float* floats, F&& f) {
  const int64_t width = block_columns(v.geometry, v.shape), most = kRunColumns / width;
  if (is_one_high(v.shape)) {
    const uint16_t* ids = expand_panel(v, table, panel, reinterpret_cast<uint16_t*>(list));
    const int64_t across = positions_per_panel(v.geometry, v.shape) / 16;
    for (int64_t first = 0; first < across; first += most) {
      const int64_t count = std::min(most, across - first);
      for (int64_t k = 0; k < count; ++k)
        for (int64_t row = 0; row < 16; ++row)
          for (int64_t c = 0; c < width; ++c)
            floats[(k * width + c) * 16 + row] = wide[ids[(first + k) * 16 + row] * width + c];
      f(first * width, count * width, floats);
    }
    return;
  }
  const PanelBlocks blocks = list_panel(v, table, panel, list);
  for (int64_t first = 0; first < blocks.count;) {
    int64_t k = 0;
    do {
      widen_block(v, table, blocks.ids[first + k], width * 16, floats + k * width * 16);
      ++k;
    } while (k < most && first + k < blocks.count && blocks.columns[first + k] == blocks.columns[first] + k * width);
    f(blocks.columns[first], k * width, floats);
    first += k;
  }
}

// Calls finish(panel, sums [batch][16]) for every panel; not for whole rows.
template <class Finish>
void multiply(const BlockView& v, const KernelTable& table, const Rows& rows, int threads, Finish&& finish) {
  const Geometry& g = v.geometry;
  const int64_t width = padded_columns(v), list = (list_bytes(v) + 63) / 64 * 64;
  static thread_local Scratch x_scratch, wide_scratch;
  const float* wide = widened(v, table, wide_scratch);
  if (rows.batch <= 4) {
    const int64_t block = rows.batch == 3 ? 4 : rows.batch;
    const int index = block == 1 ? 0 : block == 2 ? 1 : 2;
    const float* x = padded_floats(table, rows, g.columns, width, block, x_scratch);
    const bool chunks = v.shape == BlockShape::kChunk;
    parallel_for(threads, g.panels, [&](int64_t panel) {
      static thread_local Scratch scratch;
      auto* memory = scratch.get<uint8_t>(list);
      alignas(64) float sums[4 * 16] = {};
      if (is_one_high(v.shape)) {
        const uint16_t* ids = expand_panel(v, table, panel, reinterpret_cast<uint16_t*>(memory));
        for (int64_t b = 0; b < rows.batch; ++b)
          table.row_blocks[v.shape == BlockShape::k1x8](wide, ids, positions_per_panel(g, v.shape) / 16, x + b * width,
                                                        sums + b * 16);
      } else {
        const PanelBlocks blocks = list_panel(v, table, panel, memory);
        table.blocks[static_cast<int>(v.dtype)].product[chunks][index](v.words, blocks.ids, blocks.columns,
                                                                       blocks.count, x, width, sums);
      }
      finish(panel, sums);
    });
    return;
  }
  const int64_t batch_blocks = ceil_div(rows.batch, kBatchBlock);
  const auto* x = reinterpret_cast<const float*>(
      packed_floats(table, rows, g.columns, width, whole_blocks(rows.batch, kBatchBlock), threads, x_scratch));
  parallel_for(threads, g.panels, [&](int64_t panel) {
    static thread_local Scratch scratch;
    const int64_t sums_bytes = batch_blocks * kBatchBlock * kPanelRows * 4;
    auto* memory = scratch.get<uint8_t>(list + kRunColumns * 64 + sums_bytes);
    auto* floats = reinterpret_cast<float*>(memory + list);
    float* sums = floats + kRunColumns * 16;
    std::memset(sums, 0, static_cast<size_t>(sums_bytes));
    for_runs(v, table, wide, panel, memory, floats, [&](int64_t column, int64_t columns, const float* w) {
      for (int64_t b = 0; b < batch_blocks; ++b)
        table.multiply_floats(w, 0, 1, x + (b * width + column) * kBatchBlock, columns, kBatchBlock,
                              sums + b * kBatchBlock * kPanelRows, 0);
    });
    finish(panel, sums);
  });
}

// The kept rows as a matrix of their own, every chunk of it there.
BlockView kept_rows(const BlockView& v) {
  BlockView inner = v;
  inner.shape = BlockShape::kChunk;
  inner.indices = inner.masks = nullptr;
  inner.directory = nullptr;
  inner.geometry.rows = v.count;
  inner.geometry.count = 1;
  inner.geometry.panels_per_matrix = inner.geometry.panels = ceil_div(v.count, kPanelRows);
  return inner;
}

// x [panels][batch][16] of every row of the weight, zeros beyond them.
float* panel_floats(const BlockView& v, const KernelTable& table, const Rows& rows, Scratch& scratch) {
  const Geometry& g = v.geometry;
  static thread_local Scratch plain_scratch;
  const float* x = padded_floats(table, rows, g.rows, g.rows, rows.batch, plain_scratch);
  auto* out = scratch.get<float>(g.panels * rows.batch * 64);
  std::memset(out, 0, static_cast<size_t>(g.panels * rows.batch) * 64);
  for (int64_t b = 0; b < rows.batch; ++b)
    for (int64_t row = 0; row < g.rows; ++row) out[(row / 16 * rows.batch + b) * 16 + row % 16] = x[b * g.rows + row];
  return out;
}

// As in split: panels are dealt to a number of shares that depends on the batch only, and shares are added in order.
void multiply_transposed(const BlockView& v, const KernelTable& table, const Rows& rows, const float* x, int threads) {
  const Geometry& g = v.geometry;
  const int64_t width = padded_columns(v), list = (list_bytes(v) + 63) / 64 * 64;
  const int64_t shares = std::max<int64_t>(1, std::min<int64_t>(rows.batch <= 16 ? 16 : 4, g.panels));
  static thread_local Scratch y_scratch, wide_scratch;
  const float* wide = widened(v, table, wide_scratch);
  float* y = y_scratch.get<float>(shares * rows.batch * width * 4);
  parallel_for(threads, shares, [&](int64_t share) {
    static thread_local Scratch scratch;
    auto* memory = scratch.get<uint8_t>(list + 2 * kRunColumns * 64);
    auto* floats = reinterpret_cast<float*>(memory + list);
    float* by_row = floats + kRunColumns * 16;
    float* own = y + share * rows.batch * width;
    std::memset(own, 0, static_cast<size_t>(rows.batch * width) * 4);
    for (int64_t panel = g.panels * share / shares; panel < g.panels * (share + 1) / shares; ++panel)
      for_runs(v, table, wide, panel, memory, floats, [&](int64_t column, int64_t columns, const float* w) {
        for (int64_t c = 0; c < columns; ++c)
          for (int64_t row = 0; row < 16; ++row) by_row[row * kRunColumns + c] = w[c * 16 + row];
        table.multiply_rows(by_row, kRunColumns, x + panel * rows.batch * 16, rows.batch, columns, own + column, width);
      });
  });
  for (int64_t b = 0; b < rows.batch; ++b) {
    float* total = y + b * width;
    for (int64_t share = 1; share < shares; ++share) {
      const float* part = y + (share * rows.batch + b) * width;
      for (int64_t column = 0; column < g.columns; ++column) total[column] += part[column];
    }
    finish_row(rows, b, 0, g.columns, total);
  }
}

}  // namespace

void blocks_linear(const BlockView& v, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = v.geometry;
  threads = workers_worth_waking(threads, work_ns(v, rows.batch));
  if (v.shape != BlockShape::kRow && v.count > 0) {
    return multiply(v, table, rows, threads, [&](int64_t panel, const float* sums) {
      finish_rows(rows, panel * kPanelRows, std::min(kPanelRows, g.rows - panel * kPanelRows), sums);
    });
  }
  const BlockView inner = kept_rows(v);
  static thread_local Scratch y_scratch;
  const int64_t width = (inner.geometry.panels + 1) * kPanelRows;
  float* y = y_scratch.get<float>(rows.batch * width * 4);
  if (v.count > 0)
    multiply(inner, table, rows, threads, [&](int64_t panel, const float* sums) {
      for (int64_t b = 0; b < rows.batch; ++b) std::memcpy(y + b * width + panel * 16, sums + b * 16, 64);
    });
  for (int64_t panel = 0; panel < g.panels; ++panel) {
    int64_t ids[16];
    std::fill_n(ids, 16, -1);
    if (v.count > 0) list_rows(v, panel, ids);
    for (int64_t b = 0; b < rows.batch; ++b) {
      float line[16];
      for (int row = 0; row < 16; ++row) line[row] = ids[row] < 0 ? 0.0f : y[b * width + ids[row]];
      finish_row(rows, b, panel * 16, std::min(kPanelRows, g.rows - panel * kPanelRows), line);
    }
  }
}

void blocks_linear_transposed(const BlockView& v, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = v.geometry;
  threads = workers_worth_waking(threads, work_ns(v, rows.batch));
  static thread_local Scratch x_scratch, kept_scratch;
  const float* x = panel_floats(v, table, rows, x_scratch);
  if (v.shape != BlockShape::kRow && v.count > 0) return multiply_transposed(v, table, rows, x, threads);
  // Rows that are alike meet the sum of their x.
  const BlockView inner = kept_rows(v);
  const int64_t bytes = std::max<int64_t>(1, inner.geometry.panels) * rows.batch * 64;
  auto* kept = kept_scratch.get<float>(bytes);
  std::memset(kept, 0, static_cast<size_t>(bytes));
  for (int64_t panel = 0; panel < g.panels && v.count > 0; ++panel) {
    int64_t ids[16];
    list_rows(v, panel, ids);
    for (int row = 0; row < 16; ++row)
      for (int64_t b = 0; b < rows.batch && ids[row] >= 0; ++b)
        kept[(ids[row] / 16 * rows.batch + b) * 16 + ids[row] % 16] += x[(panel * rows.batch + b) * 16 + row];
  }
  multiply_transposed(inner, table, rows, kept, threads);
}

}  // namespace tersely
