// See values.hpp.
#include "tersely/codes/integer/values.hpp"

#include <algorithm>

namespace tersely {

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
