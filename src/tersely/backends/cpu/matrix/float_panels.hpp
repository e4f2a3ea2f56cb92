// The weights of a coded matrix as float32 panels, a block of columns at a time: what products read that use a weight
// many times and so decode it to scratch. Weights are exact whatever the caller computes under: some are a scale times
// a number, and where subnormals are flushed a subnormal scale would be, too.
#pragma once

#include <vector>

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {

// One or two panels that lie side by side, columns [first_column, first_column + columns) of each.
struct FloatBlock {
  int64_t panel;
  int panels;
  int64_t first_column, columns;
  const float* weights;  // [panels][...][16], columns from first_column on
  int64_t panel_stride;
  int early = 0;  // pixels that these columns have been multiplied by already
};

// Of a walk in which pixels are multiplied while weights are decoded: f(panel, column) says which, by what follows from
// that column on of two panels.
struct NoEarlyPixels {
  bool wanted(int64_t) const { return false; }
  EarlyPixels operator()(int64_t, int64_t) const { return {}; }
};

// Where the codes of an item begin, of each of its panels; null where nothing is known of them.
struct ItemCodes {
  const uint8_t* tiles[2] = {nullptr, nullptr};
};

// Where a panel begins, from the beginning of its unit on.
struct PanelStart {
  uint32_t tile, survivors;
};

// Items are what one worker takes: two panels, or one unit of many narrow panels.
class FloatPanels {
 public:
  // starts: of all panels, by starts(); null where there are none.
  FloatPanels(const MatrixView& view, const KernelTable& table, const PanelStart* starts = nullptr)
      : view_(view),
        table_(table),
        starts_(starts),
        by_pairs_(view.geometry.panels_per_unit == 1 || (starts != nullptr && view.source.parameters().levels == 1)) {}

  // Where narrow panels begin, so that each can be walked by itself, as far as a cursor in them is a place in tiles and
  // one among survivors; found by decoding all of them. Else none.
  static std::vector<PanelStart> starts(const MatrixView& view, const KernelTable& table) {
    const Geometry& g = view.geometry;
    const Parameters& p = view.source.parameters();
    std::vector<PanelStart> found;
    const bool plain = p.code == SymbolCode::kPacked || p.code == SymbolCode::kLayered;
    if (!plain || g.panels_per_unit == 1 || view.source.step() != 0) return found;
    const FloatPanels panels(view, table);
    Scratch scratch;
    auto* memory = scratch.get<uint8_t>(kExpand + g.chunks_per_panel * kChunkWeights * 4);
    for (int64_t unit = 0; unit < g.units; ++unit) {
      Cursor cursor{nullptr, nullptr, nullptr};
      panels.begin_unit(unit, memory, cursor);
      const Cursor begin = cursor;
      const UnitPanels own = unit_panels(g, unit);
      for (int64_t panel = own.first; panel < own.last; ++panel) {
        found.push_back({static_cast<uint32_t>(cursor.tile - begin.tile),
                         static_cast<uint32_t>(cursor.survivors - begin.survivors)});
        panels.decode(panel, cursor, g.chunks_per_panel, reinterpret_cast<float*>(memory + kExpand));
      }
    }
    return found;
  }

  int64_t items() const {
    return by_pairs_ && view_.geometry.units != 0 ? ceil_div(view_.geometry.panels, 2) : view_.geometry.units;
  }

  // Panels of every item but the last of a matrix.
  int64_t panels_each() const {
    return by_pairs_ ? 2 : std::min(view_.geometry.panels_per_unit, view_.geometry.panels_per_matrix);
  }

  // Asks memory for what a walk of an item would wait for at its beginning.
  ItemCodes prefetch(int64_t item) const {
    const Geometry& g = view_.geometry;
    ItemCodes codes;
    if (!by_pairs_ || item >= items()) return codes;
    for (int64_t k = 0; k < std::min<int64_t>(2, g.panels - item * 2); ++k) {
      const int64_t panel = item * 2 + k;
      const uint8_t* tiles = view_.source.prefetch(unit_of_panel(g, panel) * g.segments_per_panel);
      codes.tiles[k] = tiles == nullptr || starts_ == nullptr ? tiles : tiles + starts_[panel].tile;
    }
    return codes;
  }

  // Calls f(FloatBlock) for the blocks of an item, in column order for each panel. block_columns: at most so many, in
  // whole tiles of chunks; where the matrix has no more, a block is whole panels. early(panel, column): the pixels to
  // multiply while columns from that one on are decoded, where kernels can; blocks say how many were. next: what is
  // walked after it, which is brought to the cache meanwhile.
  template <class Early, class F>
  void walk(int64_t item, int64_t block_columns, const Early& early, const ItemCodes& next, F&& f) const {
    static thread_local Scratch scratch;
    by_pairs_ ? walk_pair(item, block_columns, scratch, early, next, f)
              : walk_unit(item, block_columns, scratch, early, f);
  }
  template <class F>
  void walk(int64_t item, int64_t block_columns, F&& f) const {
    walk(item, block_columns, NoEarlyPixels{}, prefetch(item + 1), f);
  }

 private:
  // Bytes; two panels of two items are a part of the smallest second-level cache.
  static constexpr int64_t kLongPanel = 48 << 10;
  static constexpr int64_t kExpand = (kExpandScratchBytes + 63) / 64 * 64;

  const CodeKernels& kernels(int64_t panel) const {
    return view_.source.kernels(table_)[static_cast<int>(view_.source.tail(panel))];
  }
  // What decodes two panels side by side and multiplies them by pixels meanwhile; null where nothing does.
  DecodeMultiply together(int64_t panel, int count) const {
    const bool alike = count == 2 && view_.source.tail(panel) == view_.source.tail(panel + 1);
    return alike ? kernels(panel).decode_multiply : nullptr;
  }

  void begin_unit(int64_t segment, uint8_t* scratch, Cursor& cursor) const {
    const DefaultFloats exact;
    begin_segment(view_.source, table_, segment, scratch, cursor);
  }
  void begin_panel(int64_t panel, int64_t s, uint8_t* scratch, Cursor& cursor) const {
    const Geometry& g = view_.geometry;
    begin_unit(unit_of_panel(g, panel) * g.segments_per_panel + s, scratch, cursor);
    move_to(panel, cursor);
  }
  void move_to(int64_t panel, Cursor& cursor) const {
    if (starts_ != nullptr) cursor.tile += starts_[panel].tile, cursor.survivors += starts_[panel].survivors;
  }

  void decode(int64_t panel, Cursor& cursor, int64_t chunks, float* to) const {
    const DefaultFloats exact;
    kernels(panel).decode_floats(view_.source.parameters(), cursor, chunks, to);
  }

  // How far ahead of a block to ask for codes: an item, or where panels are longer, a block.
  int64_t ahead(const Cursor& cursor, const uint8_t* first, const uint8_t* next, int64_t chunks, bool last) const {
    if (next == nullptr) return 0;
    const int64_t chunk_bytes = view_.source.parameters().chunk_bytes[0];
    const auto from = [next](const uint8_t* at) {
      return static_cast<int64_t>(reinterpret_cast<uintptr_t>(next) - reinterpret_cast<uintptr_t>(at));
    };
    if (view_.geometry.chunks_per_panel * chunk_bytes <= kLongPanel) return from(first);
    return last ? from(cursor.tile) : chunks * chunk_bytes;
  }

  // One or two panels whose cursors are at the same column.
  struct Pair {
    int64_t panel;
    int count;
    DecodeMultiply both;
    const uint8_t* first_tiles[2];
    Cursor cursors[2];
  };

  // Columns [begin, end) of a pair.
  template <class Early, class F>
  void walk_columns(Pair& pair, int64_t begin, int64_t end, int64_t block_columns, float* weights, const Early& early,
                    const ItemCodes& next, F& f) const {
    const Geometry& g = view_.geometry;
    const int64_t stride = block_columns * kPanelRows;
    const int pixels = pair.both == nullptr ? 0 : kEarlyPixels;
    const bool whole = block_columns >= g.columns;
    for (int64_t column = begin; column < end; column += block_columns) {
      const int64_t columns = std::min(block_columns, end - column), chunks = ceil_div(columns, kChunkColumns);
      float* to = weights + (whole ? column * kPanelRows : 0);
      for (int k = 0; k < pair.count; ++k)
        pair.cursors[k].ahead =
            ahead(pair.cursors[k], pair.first_tiles[k], next.tiles[k], chunks, column + columns == g.columns);
      if (pair.both != nullptr) {  // it decodes with integers alone, so subnormal weights are what they are
        pair.both(view_.source.parameters(), pair.cursors, chunks, to, stride, early(pair.panel, column));
      } else {
        for (int k = 0; k < pair.count; ++k) decode(pair.panel + k, pair.cursors[k], chunks, to + k * stride);
      }
      if (!whole) f(FloatBlock{pair.panel, pair.count, column, columns, weights, stride, pixels});
    }
    if (whole && end == g.columns) f(FloatBlock{pair.panel, pair.count, 0, g.columns, weights, stride, pixels});
  }

  template <class Early, class F>
  void walk_pair(int64_t item, int64_t block_columns, Scratch& scratch, const Early& early, const ItemCodes& next,
                 F& f) const {
    const Geometry& g = view_.geometry;
    auto* memory = scratch.get<uint8_t>(2 * kExpand + 2 * block_columns * kPanelRows * 4);
    auto* weights = reinterpret_cast<float*>(memory + 2 * kExpand);
    Pair pair{};
    pair.panel = item * 2;
    pair.count = static_cast<int>(std::min<int64_t>(2, g.panels - pair.panel));
    pair.both = early.wanted(pair.panel) ? together(pair.panel, pair.count) : nullptr;
    for (int64_t s = 0; s < g.segments_per_panel; ++s) {
      for (int k = 0; k < pair.count; ++k) begin_panel(pair.panel + k, s, memory + k * kExpand, pair.cursors[k]);
      for (int k = 0; k < pair.count && s == 0; ++k) pair.first_tiles[k] = pair.cursors[k].tile;
      const int64_t begin = s * kSegmentColumns, end = std::min(begin + kSegmentColumns, g.columns);
      walk_columns(pair, begin, end, block_columns, weights, early, next, f);
    }
  }

  template <class Early, class F>
  void walk_unit(int64_t unit, int64_t block_columns, Scratch& scratch, const Early& early, F& f) const {
    const Geometry& g = view_.geometry;
    auto* memory = scratch.get<uint8_t>(kExpand + 2 * std::max(block_columns, g.chunks_per_panel * kChunkColumns) *
                                                      kPanelRows * 4);
    auto* weights = reinterpret_cast<float*>(memory + kExpand);
    const UnitPanels panels = unit_panels(g, unit);
    Pair pair{};
    Cursor unit_begin{nullptr, nullptr, nullptr};
    begin_unit(unit, memory, unit_begin);
    for (pair.panel = panels.first; pair.panel < panels.last; pair.panel += 2) {
      pair.count = static_cast<int>(std::min<int64_t>(2, panels.last - pair.panel));
      if (starts_ != nullptr) {
        for (int k = 0; k < pair.count; ++k) move_to(pair.panel + k, pair.cursors[k] = unit_begin);
        pair.both = early.wanted(pair.panel) ? together(pair.panel, pair.count) : nullptr;
        walk_columns(pair, 0, g.columns, block_columns, weights, early, {}, f);
        continue;
      }
      const int64_t stride = g.chunks_per_panel * kChunkWeights;
      for (int k = 0; k < pair.count; ++k) decode(pair.panel + k, unit_begin, g.chunks_per_panel, weights + k * stride);
      for (int64_t column = 0; column < g.columns; column += block_columns)
        f(FloatBlock{pair.panel, pair.count, column, std::min(block_columns, g.columns - column),
                     weights + column * kPanelRows, stride});
    }
  }

  const MatrixView& view_;
  const KernelTable& table_;
  const PanelStart* starts_;
  const bool by_pairs_;
};

}  // namespace tersely
