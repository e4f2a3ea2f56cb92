// Words that follow each other, coded by split: the values of a sparse matrix. Group k of 64 words is a chunk whose
// vector order is the order of the words; a segment's groups make tiles of eight, the last tile of a segment fewer.
#pragma once

#include "tersely/backends/cpu/matrix/sources.hpp"
#include "tersely/codes/words/split/encode.hpp"
#include "tersely/codes/words/split/parameters.hpp"

namespace tersely {

struct SequenceStatistics {
  int byte;  // constant value of the byte plane, or -1
  int tail;  // the shortest kind of tail that holds every word
};

// starts: groups before each segment, [segments + 1]. histograms: uint32 [segments][256].
SequenceStatistics sequence_statistics(const uint8_t* words, const uint64_t* starts, int64_t segments, DType dtype,
                                       uint32_t* histograms, const KernelTable& table, int threads);

// As split_encode, for `words` of starts[segments] groups.
const char* sequence_encode(const uint8_t* words, const uint64_t* starts, int64_t segments,
                            const Parameters& parameters, const MutableStreams& streams, const KernelTable& table,
                            int threads);

// Word `index` of a segment.
uint32_t sequence_access(const SplitStreams& coded, const ValueGroups& groups, int64_t index);

// Parameters without a short tail.
class SplitValues : public ValueSource {
 public:
  // node: of split; groups: before each segment, [segments + 1].
  SplitValues(const Node& node, DType dtype, const Components& components, const std::vector<uint64_t>& groups);
  void begin(const KernelTable& table, const ValueGroups& groups, uint8_t* scratch, Cursor& cursor) const override;
  void next(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const override;
  uint32_t access(const ValueGroups& groups, int64_t index) const override {
    return sequence_access(coded_, groups, index);
  }
  const Parameters& parameters() const { return coded_.parameters; }

 private:
  SplitStreams coded_;
};

}  // namespace tersely
