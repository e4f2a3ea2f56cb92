// Values of a sparse matrix of integers as folded distances from a centre, under a code of split. FORMAT:
// docs/FORMAT.md, "Values".
#pragma once

#include "tersely/codes/words/split/sequence.hpp"

namespace tersely {

class DistanceValues : public ValueSource {
 public:
  // node: of integer; groups: before each segment, [segments + 1].
  DistanceValues(const Node& node, const Components& components, const std::vector<uint64_t>& groups);
  void begin(const KernelTable& table, const ValueGroups& groups, uint8_t* scratch, Cursor& cursor) const override {
    folded_.begin(table, groups, scratch, cursor);
  }
  void next(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const override;
  uint32_t access(const ValueGroups& groups, int64_t index) const override;

 private:
  const SplitValues folded_;
  const uint8_t centre_;
};

}  // namespace tersely
