// y = x w^T in the tiles of a matrix unit: bfloat16 weights and x, four batch rows or more.
//
// Up to 16 batch rows, each tile of weights is multiplied as soon as it is decoded. Above, batch rows are cut into
// blocks of up to 16 rows of the same length; a few panels are decoded side by side, 512 columns at a time, and
// multiplied by all blocks, two panels and two blocks at once. Every sum is made of the same products in the same order
// whatever is grouped with it, so the bits of y depend on instruction set and batch only.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"
#include "tersely/backends/cpu/matrix/rows.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {
namespace {

constexpr int64_t kLeastBatch = 4;  // with fewer rows, FMAs beside the decoder are as fast as the memory
constexpr int64_t kTileColumns = kTileChunks * kChunkColumns;
constexpr int64_t kTileWords = kTileChunks * kChunkWeights;

// Tiles are configured while a worker holds this.
class TileSession {
 public:
  TileSession(const KernelTable& table, int rows) : table_(table) { table.enter_tiles(rows); }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
  ~TileSession() { table_.leave_tiles(); }

 private:
  const KernelTable& table_;
};

void multiply_at_once(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads) {
  const Geometry& g = view.geometry;
  const int batch = static_cast<int>(rows.batch);
  static thread_local Scratch x_scratch;
  const uint16_t* x = packed_tiles(rows, g.columns, batch, threads, x_scratch);
  const auto enter = [&] { return TileSession(table, batch); };
  parallel_for_inside(threads, g.units, enter, [&](int64_t unit) {
    static thread_local Scratch scratch;
    auto* memory = scratch.get<uint8_t>(kExpandScratchBytes);
    alignas(64) float sums[16 * 16];
    walk_unit(view, table, unit, memory,
              [&](int64_t panel, int64_t first_chunk, int64_t chunks, const CodeKernels& kernels, Cursor& cursor) {
                if (first_chunk == 0) std::memset(sums, 0, sizeof sums);
                kernels.product_tiles(view.source.parameters(), cursor, chunks,
                                      x + first_chunk / kTileChunks * batch * kTileColumns, batch, sums);
                if (first_chunk + chunks == g.chunks_per_panel)
                  finish_rows(rows, panel * kPanelRows, std::min(kPanelRows, g.rows - panel * kPanelRows), sums);
              });
  });
}

class MatrixProduct {
 public:
  MatrixProduct(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads)
      : view_(view),
        g_(view.geometry),
        table_(table),
        rows_(rows),
        decode_words_(view.source.kernels(table)[0].decode_words),
        blocks_(ceil_div(rows.batch, 16)),
        block_rows_(static_cast<int>(ceil_div(rows.batch, blocks_))),
        tiles_(ceil_div(g_.chunks_per_panel, kTileChunks)),
        side_by_side_(g_.panels_per_unit == 1),
        sums_stride_(blocks_ * block_rows_ * kPanelRows) {
    static thread_local Scratch x_scratch;
    x_ = packed_tiles(rows, g_.columns, block_rows_, threads, x_scratch);
    // Four panels share what is read of x, unless workers would be left without any.
    group_ = !side_by_side_ || g_.units >= 8 * threads ? kGroup : g_.units >= 4 * threads ? 2 : 1;
    block_tiles_ = side_by_side_ ? kBlockTiles : tiles_;
  }

  void run(int threads) const {
    const auto enter = [&] { return TileSession(table_, block_rows_); };
    parallel_for_inside(threads, side_by_side_ ? ceil_div(g_.units, group_) : g_.units, enter, [&](int64_t item) {
      static thread_local Scratch scratch, sums_scratch;
      auto* memory = scratch.get<uint8_t>(kGroup * (kExpand + block_tiles_ * kTileWords * 2));
      auto* sums = sums_scratch.get<float>(kGroup * sums_stride_ * 4);
      side_by_side_ ? run_side_by_side(item, memory, sums) : run_in_turn(item, memory, sums);
    });
  }

 private:
  static constexpr int kGroup = 4;
  static constexpr int64_t kExpand = (kExpandScratchBytes + 63) / 64 * 64;
  // Two panels of 16 KB and two blocks of x of 16 KB at a time: about the first-level cache. Not measured yet.
  static constexpr int64_t kBlockTiles = 16;

  void run_side_by_side(int64_t item, uint8_t* memory, float* sums) const {
    auto* weights = reinterpret_cast<uint16_t*>(memory + kGroup * kExpand);
    const int64_t first = item * group_;
    const int count = static_cast<int>(std::min<int64_t>(group_, g_.units - first));
    int64_t panels[kGroup];
    Cursor cursors[kGroup];
    for (int k = 0; k < count; ++k) {
      panels[k] = unit_panels(g_, first + k).first;
      cursors[k] = {nullptr, nullptr, nullptr};
    }
    std::memset(sums, 0, static_cast<size_t>(count * sums_stride_) * 4);
    constexpr int64_t kSegmentTiles = kSegmentColumns / kTileColumns;
    for (int64_t s = 0; s < g_.segments_per_panel; ++s) {
      for (int k = 0; k < count; ++k)
        begin_segment(view_.source, table_, (first + k) * g_.segments_per_panel + s, memory + k * kExpand, cursors[k]);
      const int64_t end = s + 1 < g_.segments_per_panel ? (s + 1) * kSegmentTiles : tiles_;
      for (int64_t tile = s * kSegmentTiles; tile < end; tile += block_tiles_) {
        const int64_t tiles = std::min(block_tiles_, end - tile);
        for (int k = 0; k < count; ++k) decode(cursors[k], tile, tiles, weights + k * block_tiles_ * kTileWords);
        multiply(weights, count, tile, tiles, sums);
      }
    }
    for (int k = 0; k < count; ++k) finish(panels[k], sums + k * sums_stride_);
  }

  void run_in_turn(int64_t unit, uint8_t* memory, float* sums) const {
    auto* weights = reinterpret_cast<uint16_t*>(memory + kGroup * kExpand);
    const UnitPanels panels = unit_panels(g_, unit);
    Cursor cursor{nullptr, nullptr, nullptr};
    begin_segment(view_.source, table_, unit, memory, cursor);
    for (int64_t panel = panels.first; panel < panels.last; panel += kGroup) {
      const int count = static_cast<int>(std::min<int64_t>(kGroup, panels.last - panel));
      std::memset(sums, 0, static_cast<size_t>(count * sums_stride_) * 4);
      for (int k = 0; k < count; ++k) decode(cursor, 0, tiles_, weights + k * block_tiles_ * kTileWords);
      multiply(weights, count, 0, tiles_, sums);
      for (int k = 0; k < count; ++k) finish(panel + k, sums + k * sums_stride_);
    }
  }

  // The last tile may have fewer chunks; the rest of it must be zero, not what was there.
  void decode(Cursor& cursor, int64_t first_tile, int64_t tiles, uint16_t* to) const {
    const int64_t chunks = std::min(tiles * kTileChunks, g_.chunks_per_panel - first_tile * kTileChunks);
    decode_words_(view_.source.parameters(), cursor, chunks, to);
    std::memset(to + chunks * kChunkWeights, 0,
                static_cast<size_t>((tiles * kTileChunks - chunks) * kChunkWeights) * 2);
  }

  void multiply(const uint16_t* weights, int count, int64_t first_tile, int64_t tiles, float* sums) const {
    const int64_t x_tile = block_rows_ * kTileColumns, x_block = tiles_ * x_tile, stride = block_tiles_ * kTileWords;
    for (int k = 0; k < count; k += 2)
      for (int64_t b = 0; b < blocks_; b += 2)
        table_.multiply_tiles(weights + k * stride, stride, std::min(2, count - k),
                              x_ + b * x_block + first_tile * x_tile, x_block,
                              static_cast<int>(std::min<int64_t>(2, blocks_ - b)), block_rows_, tiles,
                              sums + k * sums_stride_ + b * block_rows_ * kPanelRows, sums_stride_);
  }

  void finish(int64_t panel, const float* sums) const {
    const int64_t first = panel * kPanelRows;
    finish_rows(rows_, first, std::min(kPanelRows, g_.rows - first), sums);
  }

  const MatrixView& view_;
  const Geometry& g_;
  const KernelTable& table_;
  const Rows& rows_;
  const DecodeWords decode_words_;
  const int64_t blocks_;
  const int block_rows_;
  const int64_t tiles_;
  const bool side_by_side_;
  const int64_t sums_stride_;
  const uint16_t* x_;
  int group_;
  int64_t block_tiles_;
};

}  // namespace

bool has_tiles(const MatrixView& view, const KernelTable& table, const Rows& rows) {
  return table.multiply_tiles != nullptr && view.dtype == DType::kBfloat16 && rows.dtype == DType::kBfloat16 &&
         rows.batch >= kLeastBatch;
}

void linear_in_tiles(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads) {
  const CodeKernels& kernels = view.source.kernels(table)[0];
  if (rows.batch <= 16 && kernels.product_tiles != nullptr) {
    multiply_at_once(view, table, rows, threads);
  } else {
    MatrixProduct(view, table, rows, threads).run(threads);
  }
}

}  // namespace tersely
