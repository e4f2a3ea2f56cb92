// Walking a coded matrix: positions by arithmetic and rank, and the loop over segments that every operator shares.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/matrix/sources.hpp"
#include "tersely/backends/cpu/matrix/view.hpp"

namespace tersely {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Fills the derived fields from elements, count, rows and columns. geometry.py is the same in Python.
inline void derive(Geometry& g) {
  g.chunks_per_panel = ceil_div(g.columns, kChunkColumns);
  g.panels_per_matrix = ceil_div(g.rows, kPanelRows);
  g.panels = g.count * g.panels_per_matrix;
  g.segments_per_panel = std::max<int64_t>(1, ceil_div(g.columns, kSegmentColumns));
  g.panels_per_unit =
      std::max<int64_t>(1, kSegmentWeights / (kChunkWeights * std::max<int64_t>(1, g.chunks_per_panel)));
  g.units_per_matrix = ceil_div(g.panels_per_matrix, g.panels_per_unit);
  g.units = g.columns == 0 ? 0 : g.count * g.units_per_matrix;
  g.segments = g.units * g.segments_per_panel;
}

inline bool panel_is_short(const Streams& s, int64_t panel) {
  return s.short_panels != nullptr && (s.short_panels[panel / 8] >> (panel % 8) & 1);
}

// Bytes before panel `panel` in the tiles: rank of the short ones among the panels before it.
inline int64_t panel_offset(const SplitView& view, int64_t panel) {
  const Parameters& p = view.parameters;
  if (p.code == Code::kSelect) return panel * p.panel_bytes;
  int64_t short_count = 0;
  if (view.streams.short_panels != nullptr) {
    const int64_t word = panel / 64;
    short_count = view.streams.short_rank[word];
    for (int64_t at = word * 8; at < panel / 8; ++at) short_count += std::popcount(view.streams.short_panels[at]);
    if (panel % 8)
      short_count +=
          std::popcount(static_cast<uint8_t>(view.streams.short_panels[panel / 8] & ((1u << (panel % 8)) - 1)));
  }
  const int64_t chunks = view.geometry.chunks_per_panel;
  return (panel - short_count) * chunks * p.chunk_bytes[0] + short_count * chunks * p.chunk_bytes[1];
}

// Panels [first, last) of unit `unit`, counted through all matrices.
struct UnitPanels {
  int64_t first, last;
};
inline UnitPanels unit_panels(const Geometry& g, int64_t unit) {
  const int64_t matrix = unit / g.units_per_matrix, inside = unit % g.units_per_matrix;
  const int64_t base = matrix * g.panels_per_matrix;
  return {base + inside * g.panels_per_unit, base + std::min((inside + 1) * g.panels_per_unit, g.panels_per_matrix)};
}
inline int64_t unit_of_panel(const Geometry& g, int64_t panel) {
  return panel / g.panels_per_matrix * g.units_per_matrix + panel % g.panels_per_matrix / g.panels_per_unit;
}

// Bytes of scratch that begin_segment needs, one per worker: expanded levels, then values (or indices), then masks
// of a segment.
inline constexpr int64_t kLevelsScratchBytes = 2 * kLevelScratchBytes;
inline constexpr int64_t kValuesScratchBytes = kSegmentWeights * 4 + kSlackBytes;
inline constexpr int64_t kExpandScratchBytes =
    kLevelsScratchBytes + kValuesScratchBytes + kSegmentChunks * 8 + kSlackBytes;

// Chunks of a segment.
inline int64_t segment_chunks(const Geometry& g, int64_t segment) {
  constexpr int64_t kWhole = kSegmentColumns / kChunkColumns;
  if (g.segments_per_panel > 1) return std::min(kWhole, g.chunks_per_panel - segment % g.segments_per_panel * kWhole);
  const UnitPanels panels = unit_panels(g, segment);
  return (panels.last - panels.first) * g.chunks_per_panel;
}

// Points a bitmap's cursor at masks that have to be expanded.
inline void begin_masks(const SplitView& view, int64_t segment, uint8_t* scratch, Cursor& cursor) {
  if (view.masks == nullptr) return;
  auto* masks = reinterpret_cast<uint64_t*>(scratch + kLevelsScratchBytes + kValuesScratchBytes);
  view.masks->expand(segment, segment_chunks(view.geometry, segment), masks);
  cursor.tile = reinterpret_cast<const uint8_t*>(masks);
}

// The coded values of a sparse segment.
inline ValueGroups value_groups(const SplitView& view, int64_t segment) {
  const uint64_t* entry = view.streams.directory + segment;
  const auto first = static_cast<int64_t>(entry[0] / kChunkWeights);
  return {segment, first, static_cast<int64_t>(entry[1] / kChunkWeights) - first};
}

// The values of a sparse segment that another formulation codes, decoded shortly before they are taken: they are still
// in the first-level cache then, and what comes next is on its way from memory meanwhile.
class ValueStream {
 public:
  static constexpr int64_t kBlockChunks = 64;  // that are walked at a time; whole tiles of every code

  ValueStream(const SplitView& view, const KernelTable& table, uint8_t* scratch)
      : view_(view), table_(table), scratch_(scratch), words_(scratch + kLevelsScratchBytes) {}
  // Starts a segment; no value is ready yet.
  void begin(int64_t segment, Cursor& cursor) {
    begin_masks(view_, segment, scratch_, cursor);
    const ValueGroups groups = value_groups(view_, segment);
    view_.values->begin(table_, groups, scratch_, source_);
    left_ = groups.count;
    cursor.survivors = cursor.survivors_end = words_;
  }
  // Makes the values of the cursor's next chunks ready, at most kBlockChunks, or all that the segment has.
  void refill(int64_t chunks, Cursor& cursor) {
    const Parameters& p = view_.parameters;
    const int64_t word_bytes = kFields[static_cast<int>(p.dtype)].word_bytes;
    int64_t wanted = 0;
    if (p.code == Code::kSelect) {
      wanted = ceil_div(chunks * kChunkColumns, p.m) * 16 * p.n;
    } else {
      wanted = table_.count_bits(cursor.tile, chunks);
    }
    fill(wanted - (cursor.survivors_end - cursor.survivors) / word_bytes, word_bytes, cursor);
  }
  // Makes all values of the segment ready.
  void fill_all(Cursor& cursor) {
    fill(left_ * kChunkWeights, kFields[static_cast<int>(view_.parameters.dtype)].word_bytes, cursor);
  }

 private:
  void fill(int64_t missing, int64_t word_bytes, Cursor& cursor) {
    if (missing <= 0 || left_ == 0) return;
    const int64_t groups = std::min(left_, ceil_div(missing, kTileChunks * kChunkWeights) * kTileChunks);
    view_.values->next(table_, source_, groups, words_ + (cursor.survivors_end - words_));
    left_ -= groups;
    cursor.survivors_end += groups * kChunkWeights * word_bytes;
  }

  const SplitView& view_;
  const KernelTable& table_;
  uint8_t* scratch_;
  uint8_t* words_;  // SAFE BECAUSE: a segment has at most kSegmentWeights words, and room for kSlackBytes follows
  Cursor source_{nullptr, nullptr, nullptr};
  int64_t left_ = 0;  // groups of the segment that are not decoded
};

// Cursor::decode_indices for indices that lie ready as bytes, where the cursor's tile is.
inline void take_indices(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  std::memcpy(out, cursor.tile, static_cast<size_t>(chunks * kChunkWeights));
  cursor.tile += chunks * kChunkWeights;
}

// Points the cursor at what the chunks of a segment take in turn: symbols that survive, or values that are not zero;
// for a palette, at its words and at what its indices take; for numbers, at these and their groups.
inline void begin_segment(const SplitView& view, const KernelTable& table, int64_t segment, uint8_t* scratch,
                          Cursor& cursor) {
  if (view.groups != nullptr) return view.groups->begin(table, segment, scratch, cursor);
  if (view.parameters.code == Code::kPalette) {
    cursor.palette = view.palette;
    if (view.held != nullptr) {
      // SAFE BECAUSE: a segment has at most kSegmentWeights indices, and the room for values holds four times as many.
      uint8_t* indices = scratch + kLevelsScratchBytes;
      view.held->expand(table, segment, scratch, indices);
      cursor.tile = indices;
      cursor.index_parameters = &view.parameters;
      cursor.decode_indices = take_indices;
      return;
    }
    if (view.indices == nullptr) return;
    const Parameters& p = view.indices->parameters;
    cursor.index_parameters = &p;
    cursor.decode_indices = table.codes[static_cast<int>(DType::kIndex)][code_index(p)][0].decode_words;
    return table.expand_levels(*view.indices, segment, scratch, cursor);
  }
  const Code code = view.parameters.code;
  if (code != Code::kBitmap && code != Code::kSelect) return table.expand_levels(view, segment, scratch, cursor);
  if (view.values != nullptr) {
    ValueStream values(view, table, scratch);
    values.begin(segment, cursor);
    return values.fill_all(cursor);
  }
  begin_masks(view, segment, scratch, cursor);
  const uint64_t* entry = view.streams.directory + segment;
  const auto word_bytes = static_cast<uint64_t>(kFields[static_cast<int>(view.parameters.dtype)].word_bytes);
  cursor.survivors = view.streams.escapes + entry[0] * word_bytes;
  cursor.survivors_end = view.streams.escapes + entry[1] * word_bytes;
}

// Calls f(panel, first_chunk, chunks, kernels, cursor) for each panel and segment of a unit, or pieces of it, in order;
// f must decode all its chunks with `kernels`, which moves the cursor on.
template <class F>
void walk_unit(const SplitView& view, const KernelTable& table, int64_t unit, uint8_t* scratch, F&& f) {
  const Geometry& g = view.geometry;
  const Parameters& p = view.parameters;
  const UnitPanels panels = unit_panels(g, unit);
  const auto& kernels = table.codes[static_cast<int>(p.dtype)][code_index(p)];
  Cursor cursor{view.streams.tiles + panel_offset(view, panels.first), nullptr, nullptr};
  const bool coded_values = view.values != nullptr;
  ValueStream values(view, table, scratch);
  for (int64_t s = 0; s < g.segments_per_panel; ++s) {
    const int64_t segment = unit * g.segments_per_panel + s;
    coded_values ? values.begin(segment, cursor) : begin_segment(view, table, segment, scratch, cursor);
    const int64_t first_chunk = s * (kSegmentColumns / kChunkColumns);
    const int64_t chunks = g.segments_per_panel == 1
                               ? g.chunks_per_panel
                               : std::min(kSegmentColumns / kChunkColumns, g.chunks_per_panel - first_chunk);
    const int64_t step = coded_values ? ValueStream::kBlockChunks : chunks;
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      const Tail tail = panel_is_short(view.streams, panel) ? p.short_tail : p.tail;
      for (int64_t done = 0; done < chunks; done += step) {
        const int64_t piece = std::min(step, chunks - done);
        if (coded_values) values.refill(piece, cursor);
        f(panel, first_chunk + done, piece, kernels[static_cast<int>(tail)], cursor);
      }
    }
  }
}

}  // namespace tersely
