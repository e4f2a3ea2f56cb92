// See sources.hpp.
#include "tersely/backends/cpu/matrix/sources.hpp"

#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {
namespace {

Parameters full_bitmap(DType dtype) {
  Parameters p{};
  p.dtype = dtype;
  p.code = SymbolCode::kBitmap;
  return p;
}

}  // namespace

ExpandedSource::ExpandedSource(const Geometry& geometry, DType dtype)
    : Source(full_bitmap(dtype)), geometry_(geometry) {}

void ExpandedSource::begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const {
  uint8_t* words = scratch + kLevelsScratchBytes;
  auto* masks = reinterpret_cast<uint64_t*>(words + kValuesScratchBytes);
  expand(table, segment, scratch, words);
  const int64_t chunks = segment_chunks(geometry_, segment);
  std::fill_n(masks, chunks, ~uint64_t{0});
  cursor.tile = reinterpret_cast<const uint8_t*>(masks);
  cursor.survivors = words;
  cursor.survivors_end = words + chunks * kChunkWeights * kFields[static_cast<int>(parameters_.dtype)].word_bytes;
}

void SourceSymbols::expand(const KernelTable& table, int64_t segment, uint8_t*, uint8_t* symbols) const {
  // What a source decodes on the way is more than symbols leave room for.
  static thread_local Scratch scratch;
  const SegmentPart part = segment_part(geometry_, segment);
  const auto& kernels = source_->kernels(table);
  Cursor cursor{nullptr, nullptr, nullptr};
  begin_segment(*source_, table, segment, scratch.get<uint8_t>(kExpandScratchBytes), cursor);
  for (int64_t panel = 0; panel < part.panels; ++panel)
    kernels[static_cast<int>(source_->tail(part.first_panel + panel))].decode_words(
        source_->parameters(), cursor, part.chunks, symbols + panel * part.chunks * kChunkWeights);
}

uint8_t SourceSymbols::access(int64_t matrix, int64_t row, int64_t column) const {
  return static_cast<uint8_t>(source_->access(active_table(), matrix, row, column));
}

}  // namespace tersely
