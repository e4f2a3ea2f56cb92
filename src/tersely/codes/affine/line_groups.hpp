// What the rows of each group of columns have in common where numbers lie in lines, and the product by lines: for
// formulations whose numbers do.
#pragma once

#include "tersely/backends/cpu/kernels/line_layout.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"

namespace tersely {

class LineNumbers;

// Safe under several threads.
class LineGroups {
 public:
  LineGroups(int64_t group_chunks, int64_t groups) : group_chunks_(group_chunks), groups_(groups) {}
  LineGroups(const LineGroups&) = delete;
  LineGroups& operator=(const LineGroups&) = delete;
  virtual ~LineGroups() = default;
  // Points `part` at what `count` neighbouring groups have, from a place (panel x groups + group) on, and behind them
  // at groups of zeros, up to `reached` groups in all. Holds until the thread calls it again.
  virtual void point(const KernelTable& table, int64_t place, int64_t count, int64_t reached,
                     LinesPart& part) const = 0;
  int64_t group_chunks() const { return group_chunks_; }
  int64_t groups() const { return groups_; }  // of a panel

 protected:
  // Groups of a segment at most, and what comes behind them in its last line.
  static constexpr int64_t kMostGroups = kSegmentColumns / kStepColumns;

 private:
  int64_t group_chunks_, groups_;
};

struct LinesView {
  const MatrixView& words;  // what is walked for more rows of x than lines are multiplied by
  const LineNumbers* lines;
  const LineGroups& groups;
  int64_t most_rows;  // of x, that lines are multiplied by
};

// Rows of x that lines of up to 4 bits are multiplied by, at most four at a time; with more, words are expanded once
// for all of them. MEASURED on Emerald Rapids: by lines, 16 rows take with 4 bits 0.5 (AVX-512) and 1.1 (AVX2) of the
// time that they take by words.
constexpr int64_t kLineRows = 16;

// y = x w^T.
void lines_linear(const LinesView& view, const KernelTable& table, const Rows& rows, int threads);

}  // namespace tersely
