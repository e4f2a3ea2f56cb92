// Values of a sparse matrix as indices of a table: group k of 64 indices is a chunk, whose vector order is the order of
// the words. Indices are packed, or split into low bits, packed, and a high part under a code of split. FORMAT:
// docs/FORMAT.md, "Values".
#pragma once

#include "tersely/codes/words/palette/palette.hpp"
#include "tersely/codes/words/split/sequence.hpp"

namespace tersely {

// Packs the low `bits` bits of indices, 64 a group in the order of their positions.
void pack_groups(const uint8_t* indices, int64_t groups, int bits, uint8_t* out, int threads);

// packed: `low_bits` bits of each index, null where that is none. high: what is above them, a sequence of
// DType::kIndex; null where low_bits are all. node: of palette; groups: before each segment, [segments + 1].
class PaletteValues : public ValueSource {
 public:
  PaletteValues(const Node& node, DType dtype, const Components& components, const std::vector<uint64_t>& groups);
  void begin(const KernelTable& table, const ValueGroups& groups, uint8_t* scratch, Cursor& cursor) const override;
  void next(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const override;
  const Palette* palette() const override { return &palette_; }
  void next_indices(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const override;
  uint32_t access(const ValueGroups& groups, int64_t index) const override;

 private:
  Palette palette_;
  Parameters parameters_{};  // of the palette's kernels
  const uint8_t* packed_ = nullptr;
  int low_bits_;
  std::unique_ptr<const SplitValues> high_;
};

}  // namespace tersely
