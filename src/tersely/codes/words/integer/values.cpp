// See values.hpp.
#include "tersely/codes/words/integer/values.hpp"

#include <algorithm>

#include "tersely/codes/opening.hpp"

namespace tersely {
namespace {

DType narrow_dtype(const std::string& like) {
  const DType dtype = dtype_of(like);
  require(kFields[static_cast<int>(dtype)].word_bytes == 1, "these values are no folded bytes");
  return dtype;
}

}  // namespace

DistanceValues::DistanceValues(const Node& node, const Components& components, const std::vector<uint64_t>& groups)
    : folded_(node.child("distances"), narrow_dtype(node.parameters.at("bit_layout").string()),
              components.under("distances"), groups),
      centre_(static_cast<uint8_t>(node.parameters.at("centre").number())) {}

void DistanceValues::next(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const {
  constexpr int64_t kBlockGroups = 64;  // whole tiles: 4 KB, which stay in the cache until they are unfolded
  alignas(64) uint8_t folded[kBlockGroups * kChunkWeights];
  for (int64_t done = 0; done < groups; done += kBlockGroups) {
    const int64_t block = std::min(kBlockGroups, groups - done);
    folded_.next(table, cursor, block, folded);
    table.unfold.bytes(folded, block * kChunkWeights, centre_, out + done * kChunkWeights);
  }
}

uint32_t DistanceValues::access(const ValueGroups& groups, int64_t index) const {
  const uint32_t folded = folded_.access(groups, index);
  return (((folded & 0x80) != 0 ? folded ^ 0x7F : folded) + centre_) & 0xFF;
}

}  // namespace tersely
