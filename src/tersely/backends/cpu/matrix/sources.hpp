// What another formulation codes for a matrix: values and masks of a sparse one, indices of a palette; what is asked of
// them, whatever they are coded by.
#pragma once

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

// Consecutive groups of 64 values; groups are counted through the whole sequence.
struct ValueGroups {
  int64_t segment, first, count;
};

// A sequence of words in segments of whole groups, at most kSegmentWeights words each. Safe under several threads.
class ValueSource {
 public:
  ValueSource() = default;
  ValueSource(const ValueSource&) = delete;
  ValueSource& operator=(const ValueSource&) = delete;
  virtual ~ValueSource() = default;
  // Points the cursor at the first group of a segment. `scratch` has kLevelsScratchBytes and lives as long as the
  // cursor.
  virtual void begin(const KernelTable& table, const ValueGroups& groups, uint8_t* scratch, Cursor& cursor) const = 0;
  // Decodes the next groups, word after word, to `out`: as many as a multiple of kTileChunks, or all that are left.
  virtual void next(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const = 0;
  // Word `index` of a segment, index < 64 * count.
  virtual uint32_t access(const ValueGroups& groups, int64_t index) const = 0;
};

// The masks of a sparse matrix, where they are not stored as they are. Safe under several threads.
class MaskSource {
 public:
  MaskSource() = default;
  MaskSource(const MaskSource&) = delete;
  MaskSource& operator=(const MaskSource&) = delete;
  virtual ~MaskSource() = default;
  // Writes the masks of all chunks of a segment, at most kSegmentChunks.
  virtual void expand(int64_t segment, int64_t chunks, uint64_t* masks) const = 0;
};

// The indices of a palette, where another formulation holds them. Safe under several threads.
class IndexSource {
 public:
  IndexSource() = default;
  IndexSource(const IndexSource&) = delete;
  IndexSource& operator=(const IndexSource&) = delete;
  virtual ~IndexSource() = default;
  // Writes the indices of all chunks of a segment, at most kSegmentWeights bytes, place column * 16 + row in a chunk.
  // `scratch` has kLevelsScratchBytes.
  virtual void expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* indices) const = 0;
  // The index of one weight.
  virtual uint8_t access(int64_t matrix, int64_t row, int64_t column) const = 0;
};

// Numbers of a matrix whose groups of columns have scales, or tables, of their own. Safe under several threads.
class GroupSource {
 public:
  GroupSource() = default;
  GroupSource(const GroupSource&) = delete;
  GroupSource& operator=(const GroupSource&) = delete;
  virtual ~GroupSource() = default;
  // Points the cursor at what the kernels of the view's code take of a segment. `scratch` has kExpandScratchBytes and
  // lives as long as the cursor.
  virtual void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const = 0;
};

}  // namespace tersely
