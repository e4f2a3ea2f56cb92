// What the rows of each group of columns have in common where numbers lie in row fields, and the product by them: for
// formulations whose numbers do.
#pragma once

#include "tersely/backends/cpu/kernels/row_fields_layout.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"

namespace tersely {

class RowFieldNumbers;

// Safe under several threads.
class RowFieldGroups {
 public:
  RowFieldGroups(int64_t group_chunks, int64_t groups) : group_chunks_(group_chunks), groups_(groups) {}
  RowFieldGroups(const RowFieldGroups&) = delete;
  RowFieldGroups& operator=(const RowFieldGroups&) = delete;
  virtual ~RowFieldGroups() = default;
  // Points `part` at what `count` neighbouring groups have, from a group index (panel x groups + group) on, and behind
  // them at groups of zeros, up to `reached` groups in all. Holds until the thread calls it again.
  virtual void point(const KernelTable& table, int64_t group_index, int64_t count, int64_t reached,
                     RowFieldsPart& part) const = 0;
  int64_t group_chunks() const { return group_chunks_; }
  int64_t groups() const { return groups_; }  // of a panel

 protected:
  // Groups of a segment at most, and what comes behind them in its last line.
  static constexpr int64_t kMaxGroups = kSegmentColumns / kStepColumns;

 private:
  int64_t group_chunks_, groups_;
};

struct RowFieldsView {
  const MatrixView& words;  // what is walked for more rows of x than lines are multiplied by
  const RowFieldNumbers* lines;
  const RowFieldGroups& groups;
  int64_t max_rows;  // of x, that lines are multiplied by
};

// Rows of x that lines of up to 4 bits are multiplied by, at most four at a time; with more, words are expanded once
// for all of them. MEASURED on Emerald Rapids: by row fields, 16 rows take with 4 bits 0.5 (AVX-512) and 1.1 (AVX2) of
// the time that they take by words.
constexpr int64_t kRowFieldRows = 16;

// y = x w^T.
void row_fields_linear(const RowFieldsView& view, const KernelTable& table, const Rows& rows, int threads);

}  // namespace tersely
