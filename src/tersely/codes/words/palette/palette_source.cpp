// See palette_source.hpp.
#include "tersely/codes/words/palette/palette_source.hpp"

#include <cstring>

#include "tersely/codes/opening.hpp"

namespace tersely {
namespace {

Parameters palette_parameters(DType dtype) {
  Parameters p{};
  p.dtype = dtype;
  p.code = SymbolCode::kPalette;
  return p;
}

// Cursor::decode_indices for indices that lie ready as bytes, where the cursor's tile is.
void take_indices(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  std::memcpy(out, cursor.tile, static_cast<size_t>(chunks * kChunkWeights));
  cursor.tile += chunks * kChunkWeights;
}

}  // namespace

PaletteSource::PaletteSource(const Geometry& geometry, DType dtype, const Components& components, int64_t entries)
    : Source(palette_parameters(dtype)), geometry_(geometry) {
  require(entries >= 1 && entries <= 256, "a palette has 1 to 256 words");
  make_palette(palette_, dtype, components.index("table", entries * kFields[static_cast<int>(dtype)].word_bytes),
               static_cast<int>(entries));
}

PackedPalette::PackedPalette(const Geometry& geometry, DType dtype, const Components& components, int64_t entries)
    : PaletteSource(geometry, dtype, components, entries),
      packed_(components.stream("indices", checked_product(checked_product(geometry.panels, geometry.chunks_per_panel),
                                                           8 * palette_.index_bits))) {}

void PackedPalette::begin(const KernelTable&, int64_t segment, uint8_t*, Cursor& cursor) const {
  const SegmentPart part = segment_part(geometry_, segment);
  cursor.palette = &palette_;
  cursor.tile = chunk(part.first_panel, part.first_chunk);
}

uint32_t PackedPalette::access(const KernelTable&, int64_t matrix, int64_t row, int64_t column) const {
  const int64_t panel = matrix * geometry_.panels_per_matrix + row / kPanelRows;
  const int position = static_cast<int>(column % 4 * 16 + row % 16);
  return word(packed_index(chunk(panel, column / kChunkColumns), palette_.index_bits, position));
}

CodedPalette::CodedPalette(const Geometry& geometry, DType dtype, const Components& components, int64_t entries,
                           const Node& indices)
    : PaletteSource(geometry, dtype, components, entries), indices_(geometry, indices, components.under("indices")) {}

void CodedPalette::begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const {
  const Parameters& p = indices_.parameters();
  cursor.palette = &palette_;
  cursor.index_parameters = &p;
  cursor.decode_indices = table.codes[static_cast<int>(DType::kIndex)][code_index(p)][0].decode_words;
  indices_.begin(table, segment, scratch, cursor);
}

HeldPalette::HeldPalette(const Geometry& geometry, DType dtype, const Components& components, int64_t entries,
                         std::unique_ptr<const SymbolSource> indices)
    : PaletteSource(geometry, dtype, components, entries), indices_(std::move(indices)) {}

void HeldPalette::begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const {
  // SAFE BECAUSE: a segment has at most kSegmentWeights indices, and the room for values holds four times as many.
  uint8_t* indices = scratch + kLevelsScratchBytes;
  indices_->expand(table, segment, scratch, indices);
  cursor.palette = &palette_;
  cursor.tile = indices;
  cursor.index_parameters = &parameters_;
  cursor.decode_indices = take_indices;
}

}  // namespace tersely
