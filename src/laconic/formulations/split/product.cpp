// y = x w^T on coded weights. Two regimes here: up to 4 batch rows every decoded register is multiplied at once; above,
// tiles are decoded once to scratch for all batch rows. Threads draw units, and one worker takes a panel's segments in
// column order, so the bits of y depend on instruction set and batch only, not on the number of threads.
#include <algorithm>
#include <cstring>
#include <vector>

#include "laconic/base/parallel.hpp"
#include "laconic/formulations/split/operators.hpp"
#include "laconic/formulations/split/rows.hpp"
#include "laconic/formulations/split/scratch.hpp"
#include "laconic/formulations/split/walk.hpp"

namespace laconic {
namespace {

// Up to 4 batch rows: no scratch for weights at all.
void multiply_in_registers(const SplitView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = view.geometry;
  const int64_t width = g.chunks_per_panel * kChunkColumns;
  const int64_t block = rows.batch == 3 ? 4 : rows.batch;
  const int index = block == 1 ? 0 : block == 2 ? 1 : 2;
  static thread_local Scratch x_scratch;
  const float* x = padded_floats(table, rows, g.columns, width, block, x_scratch);
  parallel_for(threads, g.units, [&](int64_t unit) {
    static thread_local Scratch scratch;
    auto* memory = scratch.get<uint8_t>(kExpandScratchBytes);
    alignas(64) float sums[4 * 16];
    walk_unit(view, table, unit, memory,
              [&](int64_t panel, int64_t first_chunk, int64_t chunks, const CodeKernels& kernels, Cursor& cursor) {
                if (first_chunk == 0) std::memset(sums, 0, sizeof sums);
                kernels.product[index](view.parameters, cursor, chunks, x + first_chunk * kChunkColumns, width, sums);
                if (first_chunk + chunks == g.chunks_per_panel)
                  finish_rows(rows, g.rows, panel * kPanelRows, std::min(kPanelRows, g.rows - panel * kPanelRows),
                              sums);
              });
  });
}

// Batch rows per block: the width with the fewest padded rows; ties go to the wider.
int choose_batch_block(int64_t batch) {
  int best = 4;
  for (int block : {8, 12})
    if (ceil_div(batch, block) * block <= ceil_div(batch, best) * best) best = block;
  return best;
}

// More batch rows: items of one or two units, so that two panels share every broadcast of x.
void multiply_tiles(const SplitView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = view.geometry;
  const Parameters& p = view.parameters;
  const bool pairs = table.multiply_pairs != nullptr && p.dtype == DType::kBfloat16 && rows.dtype == DType::kBfloat16;
  const int64_t width = g.chunks_per_panel * kChunkColumns;
  const int block = choose_batch_block(rows.batch);
  const int64_t blocks = ceil_div(rows.batch, block);
  static thread_local Scratch x_scratch;
  const uint32_t* x = pairs ? packed_pairs(rows, g.columns, width, block, x_scratch)
                            : packed_floats(table, rows, g.columns, width, block, x_scratch);
  const int64_t x_block = pairs ? width / 2 * block : width * block;  // dwords per batch block
  const auto& kernels = table.codes[static_cast<int>(p.dtype)][code_index(p)];
  const int64_t units_per_item = g.panels_per_unit == 1 ? 2 : 1;
  const int64_t word_bytes = pairs ? 2 : 4;

  parallel_for(threads, ceil_div(g.units, units_per_item), [&](int64_t item) {
    static thread_local Scratch scratch, sums_scratch;
    const int64_t first_unit = item * units_per_item;
    const int64_t last_unit = std::min(first_unit + units_per_item, g.units);
    const int64_t first_panel = unit_panels(g, first_unit).first, last_panel = unit_panels(g, last_unit - 1).last;
    const int64_t segment_chunks = std::min(kSegmentColumns / kChunkColumns, g.chunks_per_panel);
    const int64_t panel_stride = segment_chunks * kChunkWeights;
    auto* memory = scratch.get<uint8_t>((kExpandScratchBytes + 63) / 64 * 64 +
                                        (last_panel - first_panel) * panel_stride * word_bytes);
    uint8_t* weights = memory + (kExpandScratchBytes + 63) / 64 * 64;
    const int64_t sums_stride = blocks * block * 16;
    auto* sums = sums_scratch.get<float>((last_panel - first_panel) * sums_stride * 4);
    std::memset(sums, 0, static_cast<size_t>((last_panel - first_panel) * sums_stride * 4));
    Cursor cursors[2];
    for (int64_t u = first_unit; u < last_unit; ++u)
      cursors[u - first_unit] = {view.streams.tiles + panel_offset(view, unit_panels(g, u).first), nullptr, nullptr};
    for (int64_t s = 0; s < g.segments_per_panel; ++s) {
      const int64_t first_chunk = s * (kSegmentColumns / kChunkColumns);
      const int64_t chunks = std::min(segment_chunks, g.chunks_per_panel - first_chunk);
      for (int64_t u = first_unit; u < last_unit; ++u) {
        Cursor& cursor = cursors[u - first_unit];
        table.expand_levels(view, u * g.segments_per_panel + s, memory, cursor);
        for (int64_t panel = unit_panels(g, u).first; panel < unit_panels(g, u).last; ++panel) {
          const Tail tail = panel_is_short(view.streams, panel) ? p.short_tail : p.tail;
          uint8_t* to = weights + (panel - first_panel) * panel_stride * word_bytes;
          if (pairs) {
            kernels[static_cast<int>(tail)].decode_words(p, cursor, chunks, to);
          } else {
            kernels[static_cast<int>(tail)].decode_floats(p, cursor, chunks, reinterpret_cast<float*>(to));
          }
        }
      }
      for (int64_t b = 0; b < blocks; ++b) {
        const uint32_t* from = x + b * x_block + first_chunk * kChunkColumns * block / (pairs ? 2 : 1);
        for (int64_t panel = first_panel; panel < last_panel; panel += 2) {
          const int count = static_cast<int>(std::min<int64_t>(2, last_panel - panel));
          uint8_t* w = weights + (panel - first_panel) * panel_stride * word_bytes;
          float* y = sums + (panel - first_panel) * sums_stride + b * block * 16;
          if (pairs) {
            table.multiply_pairs(reinterpret_cast<const uint16_t*>(w), panel_stride, count, from, chunks * 2, block, y,
                                 sums_stride);
          } else {
            table.multiply_floats(reinterpret_cast<const float*>(w), panel_stride, count,
                                  reinterpret_cast<const float*>(from), chunks * kChunkColumns, block, y, sums_stride);
          }
        }
      }
    }
    for (int64_t panel = first_panel; panel < last_panel; ++panel)
      finish_rows(rows, g.rows, panel * kPanelRows, std::min(kPanelRows, g.rows - panel * kPanelRows),
                  sums + (panel - first_panel) * sums_stride);
  });
}

}  // namespace

void linear(const SplitView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Parameters& p = view.parameters;
  const auto& kernels = table.codes[static_cast<int>(p.dtype)][code_index(p)][static_cast<int>(p.tail)];
  if (rows.batch <= 4 && kernels.product[0] != nullptr) {
    multiply_in_registers(view, table, rows, threads);
  } else {
    multiply_tiles(view, table, rows, threads);
  }
}

}  // namespace laconic
