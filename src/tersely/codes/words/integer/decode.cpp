// Decoding of `integer`: a segment's fields to words in cache, its exceptions over them, then to the rows of the
// tensor.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/words/integer/integer.hpp"

namespace tersely {
namespace {

uint16_t position_at(const IntegerView& view, uint64_t escape) {
  uint16_t position;
  std::memcpy(&position, view.positions + escape * 2, 2);
  return position;
}

// Calls f(chunk, position in the chunk, word) for the weights of a segment that are listed.
template <class F>
void for_escapes(const IntegerView& view, int64_t segment, const FieldPart& part, F&& f) {
  for (uint64_t k = view.directory[segment]; k < view.directory[segment + 1]; ++k) {
    const int64_t position = position_at(view, k), chunk = position / kChunkWeights;
    // SAFE BECAUSE: a position is payload; one beyond the segment is passed over.
    if (chunk < part.panels * part.chunks) f(chunk, position % kChunkWeights, view.escapes[k]);
  }
}

// Words of a segment: [panels][blocks][256], chunk by chunk, row * 4 + column in a chunk.
void unpack_segment(const IntegerView& view, const KernelTable& table, int64_t segment, const FieldPart& part,
                    uint8_t* out) {
  const int64_t panel_words = part.blocks * kFieldBlockWeights;
  for (int64_t p = 0; p < part.panels; ++p)
    table.unpack_fields(part.fields + p * part.panel_bytes, part.blocks, part.bits, static_cast<uint8_t>(part.base),
                        view.flip, out + p * panel_words);
  for_escapes(view, segment, part, [&](int64_t chunk, int64_t position, uint8_t word) {
    out[chunk / part.chunks * panel_words + chunk % part.chunks * kChunkWeights + position] = word;
  });
}

// Writes what of a panel's words lies in elements [first, last) to out.
void store_panel(const Geometry& g, const FieldPart& part, int64_t panel, const uint8_t* words, int64_t first,
                 int64_t last, uint8_t* out) {
  const int64_t rows = std::min(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows);
  const int64_t column = part.first_chunk * kChunkColumns;
  const int64_t columns = std::min(part.chunks * kChunkColumns, g.columns - column);
  const bool contiguous = g.column_offsets == nullptr && g.column_stride == 1;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t base = row_offset(g, panel, static_cast<int>(row));
    const uint8_t* from = words + row * kChunkColumns;
    if (contiguous && base + column >= first && base + column + columns <= std::min(last, g.elements)) {
      uint8_t* to = out + (base + column - first);
      int64_t c = 0;
      for (; c + kChunkColumns <= columns; c += kChunkColumns) std::memcpy(to + c, from + c * 16, kChunkColumns);
      for (; c < columns; ++c) to[c] = from[c / 4 * 64 + c % 4];
      continue;
    }
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t position = base + column_offset(g, column + c);
      if (position >= first && position < std::min(last, g.elements)) out[position - first] = from[c / 4 * 64 + c % 4];
    }
  }
}

}  // namespace

void integer_decode_window(const IntegerView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                           int64_t first_element, int64_t elements, uint8_t* out, int threads) {
  const Geometry& g = view.geometry;
  if (first_panel >= last_panel || g.units == 0) return;
  const int64_t first = unit_of_panel(g, first_panel) * g.segments_per_panel;
  const int64_t last = (unit_of_panel(g, last_panel - 1) + 1) * g.segments_per_panel;
  parallel_for(threads, last - first, [&](int64_t index) {
    static thread_local Scratch scratch;
    const FieldPart part = part_of(view, first + index);
    auto* words = scratch.get<uint8_t>(part.panels * part.blocks * kFieldBlockWeights + 64);
    unpack_segment(view, table, first + index, part, words);
    for (int64_t p = 0; p < part.panels; ++p) {
      const int64_t panel = part.first_panel + p;
      if (panel >= first_panel && panel < last_panel)
        store_panel(g, part, panel, words + p * part.blocks * kFieldBlockWeights, first_element,
                    first_element + elements, out);
    }
  });
}

void integer_segment(const IntegerView& view, const KernelTable& table, int64_t segment, uint8_t* scratch,
                     uint8_t* out) {
  const FieldPart part = part_of(view, segment);
  for (int64_t p = 0; p < part.panels; ++p) {
    table.unpack_fields(part.fields + p * part.panel_bytes, part.blocks, part.bits, static_cast<uint8_t>(part.base),
                        view.flip, scratch);
    table.turn_chunks(scratch, part.chunks, out + p * part.chunks * kChunkWeights);
  }
  for_escapes(view, segment, part, [&](int64_t chunk, int64_t position, uint8_t word) {
    out[chunk * kChunkWeights + position % kChunkColumns * 16 + position / kChunkColumns] = word;
  });
}

void integer_chunks(const IntegerView& view, const KernelTable& table, int64_t unit, uint8_t* out) {
  const Geometry& g = view.geometry;
  for (int64_t s = 0; s < g.segments_per_panel; ++s) {
    const int64_t segment = unit * g.segments_per_panel + s;
    const FieldPart part = part_of(view, segment);
    uint8_t* to = out + part.first_chunk * kChunkWeights;  // 0 where a unit has several panels
    // A panel's last block may reach beyond its chunks, to where the next one's are written after it.
    for (int64_t p = 0; p < part.panels; ++p)
      table.unpack_fields(part.fields + p * part.panel_bytes, part.blocks, part.bits, static_cast<uint8_t>(part.base),
                          view.flip, to + p * part.chunks * kChunkWeights);
    for_escapes(view, segment, part,
                [&](int64_t chunk, int64_t position, uint8_t word) { to[chunk * kChunkWeights + position] = word; });
  }
}

uint32_t integer_access(const IntegerView& view, int64_t matrix, int64_t row, int64_t column) {
  const Geometry& g = view.geometry;
  const int64_t panel = matrix * g.panels_per_matrix + row / kPanelRows, chunk = column / kChunkColumns;
  const int64_t unit = unit_of_panel(g, panel);
  const int64_t s = g.segments_per_panel == 1 ? 0 : chunk / (kSegmentColumns / kChunkColumns);
  const int64_t segment = unit * g.segments_per_panel + s;
  const FieldPart part = part_of(view, segment);
  const int64_t inside = (row % kPanelRows) * kChunkColumns + column % kChunkColumns;
  const int64_t position =
      ((panel - part.first_panel) * part.chunks + chunk - part.first_chunk) * kChunkWeights + inside;
  for (uint64_t k = view.directory[segment + 1]; k > view.directory[segment]; --k)
    if (position_at(view, k - 1) == position) return view.escapes[k - 1];
  const int64_t block = (chunk - part.first_chunk) / kFieldBlockChunks;
  const uint8_t* at = part.fields + (panel - part.first_panel) * part.panel_bytes + block * kFieldRunBytes * part.bits;
  const int64_t half = chunk % kFieldBlockChunks * 2 + inside / kFieldRunBytes, byte = inside % kFieldRunBytes;
  int field = 0, shift = 0;
  for (int width = 8; width > 0; width /= 2) {
    if ((part.bits & width) == 0) continue;
    const int64_t halves = 8 / width;
    const int found = at[half / halves * kFieldRunBytes + byte] >> (half % halves * width) & ((1 << width) - 1);
    field |= found << shift;
    shift += width;
    at += width * kFieldRunBytes;
  }
  return static_cast<uint8_t>(field + part.base) ^ view.flip;
}

int64_t integer_pick_rows(const IntegerView& view, const KernelTable& table, const int64_t* wanted, int64_t count,
                          uint8_t* out, int threads) {
  const Geometry& g = view.geometry;
  for (int64_t i = 0; i < count; ++i)
    if (wanted[i] < 0 || wanted[i] >= g.rows) return i;
  parallel_for(threads, count, [&](int64_t i) {
    const int64_t panel = wanted[i] / kPanelRows;
    integer_decode_window(view, table, panel, panel + 1, wanted[i] * g.columns, g.columns, out + i * g.columns, 1);
  });
  return -1;
}

}  // namespace tersely
