// y = x w^T on coded weights. Up to 4, 8 or 16 batch rows, as the kernels go, every decoded register is multiplied at
// once; above, tiles are decoded once to scratch for all batch rows. Threads draw units, and one worker takes a panel's
// segments in column order, so the bits of y depend on instruction set and batch only, not on the number of threads.
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

// Up to 4 batch rows: no scratch for weights at all.
void multiply_in_registers(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads) {
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
                kernels.product[index](view.source.parameters(), cursor, chunks, x + first_chunk * kChunkColumns, width,
                                       sums);
                if (first_chunk + chunks == g.chunks_per_panel)
                  finish_rows(rows, panel * kPanelRows, std::min(kPanelRows, g.rows - panel * kPanelRows), sums);
              });
  });
}

// Up to 16 batch rows at once: x is packed, so that the rows of a column lie together.
void multiply_packed(const MatrixView& view, const KernelTable& table, const Rows& rows, int block, bool pairs,
                     int threads) {
  const Geometry& g = view.geometry;
  const int64_t width = g.chunks_per_panel * kChunkColumns;
  static thread_local Scratch x_scratch;
  const uint32_t* x =
      pairs ? packed_pairs(rows, g.columns, width, whole_blocks(rows.batch, block), threads, x_scratch)
            : packed_floats(table, rows, g.columns, width, whole_blocks(rows.batch, block), threads, x_scratch);
  const int64_t dwords_per_chunk = pairs ? 2 * block : 4 * block;
  parallel_for(threads, g.units, [&](int64_t unit) {
    static thread_local Scratch scratch;
    auto* memory = scratch.get<uint8_t>(kExpandScratchBytes);
    alignas(64) float sums[16 * 16];
    walk_unit(view, table, unit, memory,
              [&](int64_t panel, int64_t first_chunk, int64_t chunks, const CodeKernels& kernels, Cursor& cursor) {
                if (first_chunk == 0) std::memset(sums, 0, sizeof sums);
                const uint32_t* from = x + first_chunk * dwords_per_chunk;
                if (pairs) {
                  kernels.product_pairs[block == 4   ? 0
                                        : block == 8 ? 1
                                                     : 2](view.source.parameters(), cursor, chunks, from, sums);
                } else {
                  kernels.product_packed(view.source.parameters(), cursor, chunks, reinterpret_cast<const float*>(from),
                                         sums);
                }
                if (first_chunk + chunks == g.chunks_per_panel)
                  finish_rows(rows, panel * kPanelRows, std::min(kPanelRows, g.rows - panel * kPanelRows), sums);
              });
  });
}

// Batch rows by blocks of 4, 8 or 12, the last one as small as it may be: a block costs its rows, padded ones too, and
// about one row more for loading weights and sums.
Batching choose_batching(int64_t batch) {
  Batching best{};
  int64_t best_cost = 0;
  for (int block : {12, 8, 4}) {
    const int64_t blocks = ceil_div(batch, block);
    const int last = static_cast<int>(ceil_div(batch - (blocks - 1) * block, 4) * 4);
    const int64_t cost = (blocks - 1) * (block + 1) + last + 1;
    if (best.block == 0 || cost < best_cost) best = {block, last, blocks}, best_cost = cost;
  }
  return best;
}

// More batch rows: weights are decoded once, a block at a time, and multiplied by all batch rows while they are in the
// first cache; two panels share every broadcast of x. Where a unit is one panel, two units are walked side by side and
// a block is `kBlockBytes` of columns; where a unit holds many narrow panels, they follow each other in the stream and
// a block is two whole panels.
class TileProduct {
 public:
  TileProduct(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads)
      : view_(view),
        g_(view.geometry),
        source_(view.source),
        table_(table),
        rows_(rows),
        kernels_(view.source.kernels(table)),
        pairs_(table.multiply_pairs != nullptr && view.dtype == DType::kBfloat16 && rows.dtype == DType::kBfloat16),
        batching_(choose_batching(rows.batch)),
        side_by_side_(g_.panels_per_unit == 1) {
    static thread_local Scratch x_scratch;
    const int64_t width = g_.chunks_per_panel * kChunkColumns;
    x_ = pairs_ ? packed_pairs(rows, g_.columns, width, batching_, threads, x_scratch)
                : packed_floats(table, rows, g_.columns, width, batching_, threads, x_scratch);
    dwords_per_row_ = pairs_ ? 2 : 4;
    chunk_bytes_ = kChunkWeights * (pairs_ ? 2 : 4);
    block_chunks_ = side_by_side_ ? kBlockBytes / 2 / chunk_bytes_ : std::max<int64_t>(1, g_.chunks_per_panel);
    sums_stride_ = batching_.rows() * kPanelRows;
  }

  int64_t items() const { return side_by_side_ ? ceil_div(g_.units, 2) : g_.units; }

  void run(int64_t item) const {
    static thread_local Scratch scratch, sums_scratch;
    auto* memory = scratch.get<uint8_t>(2 * kExpand + 2 * block_chunks_ * chunk_bytes_);
    auto* sums = sums_scratch.get<float>(2 * sums_stride_ * 4);
    side_by_side_ ? run_side_by_side(item, memory, sums) : run_in_turn(item, memory, sums);
  }

 private:
  static constexpr int64_t kExpand = (kExpandScratchBytes + 63) / 64 * 64;
  static constexpr int64_t kBlockBytes = 131072;  // in the second cache

  void run_side_by_side(int64_t item, uint8_t* memory, float* sums) const {
    uint8_t* weights = memory + 2 * kExpand;
    const int64_t first = item * 2;
    const int count = static_cast<int>(std::min<int64_t>(2, g_.units - first));
    int64_t panels[2];
    Cursor cursors[2];
    for (int k = 0; k < count; ++k) {
      panels[k] = unit_panels(g_, first + k).first;
      cursors[k] = {nullptr, nullptr, nullptr};
    }
    std::memset(sums, 0, static_cast<size_t>(count * sums_stride_) * 4);
    for (int64_t s = 0; s < g_.segments_per_panel; ++s) {
      for (int k = 0; k < count; ++k)
        begin_segment(view_.source, table_, (first + k) * g_.segments_per_panel + s, memory + k * kExpand, cursors[k]);
      const int64_t begin = s * (kSegmentColumns / kChunkColumns);
      const int64_t end = s + 1 < g_.segments_per_panel ? begin + kSegmentColumns / kChunkColumns : g_.chunks_per_panel;
      for (int64_t chunk = begin; chunk < end; chunk += block_chunks_) {
        const int64_t chunks = std::min(block_chunks_, end - chunk);
        for (int k = 0; k < count; ++k)
          decode(panels[k], cursors[k], chunks, weights + k * block_chunks_ * chunk_bytes_);
        multiply(weights, count, chunk, chunks, sums);
      }
    }
    for (int k = 0; k < count; ++k) finish(panels[k], sums + k * sums_stride_);
  }

  void run_in_turn(int64_t unit, uint8_t* memory, float* sums) const {
    uint8_t* weights = memory + 2 * kExpand;
    const UnitPanels panels = unit_panels(g_, unit);
    Cursor cursor{nullptr, nullptr, nullptr};
    begin_segment(view_.source, table_, unit, memory, cursor);
    for (int64_t panel = panels.first; panel < panels.last; panel += 2) {
      const int count = static_cast<int>(std::min<int64_t>(2, panels.last - panel));
      std::memset(sums, 0, static_cast<size_t>(count * sums_stride_) * 4);
      for (int k = 0; k < count; ++k)
        decode(panel + k, cursor, g_.chunks_per_panel, weights + k * block_chunks_ * chunk_bytes_);
      multiply(weights, count, 0, g_.chunks_per_panel, sums);
      for (int k = 0; k < count; ++k) finish(panel + k, sums + k * sums_stride_);
    }
  }

  void decode(int64_t panel, Cursor& cursor, int64_t chunks, uint8_t* to) const {
    const CodeKernels& own = kernels_[static_cast<int>(source_.tail(panel))];
    if (pairs_) {
      own.decode_words(source_.parameters(), cursor, chunks, to);
    } else {
      own.decode_floats(source_.parameters(), cursor, chunks, reinterpret_cast<float*>(to));
    }
  }

  void multiply(const uint8_t* weights, int count, int64_t first_chunk, int64_t chunks, float* sums) const {
    for (int64_t b = 0; b < batching_.blocks; ++b) {
      const int block = batching_.of(b);
      const uint32_t* x = x_ + (b * batching_.block * g_.chunks_per_panel + block * first_chunk) * dwords_per_row_;
      float* y = sums + b * batching_.block * kPanelRows;
      if (pairs_) {
        table_.multiply_pairs(reinterpret_cast<const uint16_t*>(weights), block_chunks_ * kChunkWeights, count, x,
                              chunks * 2, block, y, sums_stride_);
      } else {
        table_.multiply_floats(reinterpret_cast<const float*>(weights), block_chunks_ * kChunkWeights, count,
                               reinterpret_cast<const float*>(x), chunks * kChunkColumns, block, y, sums_stride_);
      }
    }
  }

  void finish(int64_t panel, const float* sums) const {
    const int64_t first = panel * kPanelRows;
    finish_rows(rows_, first, std::min(kPanelRows, g_.rows - first), sums);
  }

  const MatrixView& view_;
  const Geometry& g_;
  const Source& source_;
  const KernelTable& table_;
  const Rows& rows_;
  const CodeKernels (&kernels_)[3];
  const bool pairs_;
  const Batching batching_;
  const bool side_by_side_;
  const uint32_t* x_;
  int64_t dwords_per_row_, chunk_bytes_, block_chunks_, sums_stride_;
};

}  // namespace

int64_t product_ns(const Geometry& g, int64_t batch) { return g.rows * g.columns * (batch + 4) / 40; }

void linear(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads) {
  const auto& kernels = view.source.kernels(table)[static_cast<int>(view.source.parameters().tail)];
  threads = workers_worth_waking(threads, product_ns(view.geometry, rows.batch));
  if (has_tiles(view, table, rows)) return linear_in_tiles(view, table, rows, threads);
  const int block = rows.batch <= 4 ? 4 : rows.batch <= 8 ? 8 : 16;
  // With one or two rows, shifts and FMAs in float32 beat vdpbf16ps, which shares a port with the expand.
  const bool pairs = kernels.product_pairs[0] != nullptr && rows.dtype == DType::kBfloat16;
  if (pairs && rows.batch > 2 && rows.batch <= 16) {
    multiply_packed(view, table, rows, block, true, threads);
  } else if (rows.batch <= 4 && kernels.product[0] != nullptr) {
    multiply_in_registers(view, table, rows, threads);
  } else if (rows.batch <= 8 && kernels.product_packed != nullptr) {
    multiply_packed(view, table, rows, 8, false, threads);
  } else {
    const TileProduct product(view, table, rows, threads);
    parallel_for(threads, product.items(), [&](int64_t item) { product.run(item); });
  }
}

}  // namespace tersely
