// See sources.hpp.
#include "tersely/backends/cpu/matrix/sources.hpp"

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

}  // namespace tersely
