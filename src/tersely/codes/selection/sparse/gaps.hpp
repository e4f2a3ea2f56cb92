// Column gaps: rows sorted by count inside windows of 256, 16 of them side by side as lanes, 4 entries a block.
// The order of rows is that of SELL-C-sigma, with C = 16 and sigma = 256: M. Kreutzer, G. Hager, G. Wellein, H. Fehske,
// A. R. Bishop, "A Unified Sparse Matrix Data Format for Efficient General Sparse Matrix-Vector Multiplication on
// Modern Processors with Wide SIMD Units", 2014, doi:10.1137/130930352.
#pragma once

#include "tersely/backends/cpu/matrix/operators.hpp"
#include "tersely/backends/cpu/matrix/sources.hpp"
#include "tersely/codes/selection/sparse/sparse.hpp"
#include "tersely/codes/words/integer/integer.hpp"

namespace tersely {

// The scales by which words are made of values that are signed bytes. Rows are counted through all panels, padding
// included.
class LaneScaling {
 public:
  explicit LaneScaling(int64_t groups, int shift) : groups(groups), shift(shift) {}
  LaneScaling(const LaneScaling&) = delete;
  LaneScaling& operator=(const LaneScaling&) = delete;
  virtual ~LaneScaling() = default;
  // Those of 16 rows, [groups][16].
  virtual void scales(const int64_t* rows, float* out) const = 0;
  virtual uint32_t word(int64_t row, int64_t column, int8_t number) const = 0;

  const int64_t groups;  // of a row's columns
  const int shift;       // a column >> shift is in that group
};

// Groups of 16 lanes are counted like panels, and a group's window is the 16 panels around its panel.
struct GapView {
  Geometry geometry;
  DType dtype;                // of words
  const uint8_t* gaps;        // [blocks][4][16]
  const uint8_t* values;      // [blocks][4][16]; one of zero bits is a filler. Null where they are coded
  const uint8_t* rows;        // [groups][16]: the row of each lane inside the window
  const uint64_t* directory;  // [groups + 1], in blocks
  const ValueSource* coded;   // or null: a group of lanes is a segment, of at most kSegmentChunks blocks, each 64 words
  const LaneScaling* scaling;  // or null: values are words, not signed bytes
};

// What products walk: the row of the matrix that a lane holds, beyond its rows for padding.
int64_t matrix_row(const Geometry& geometry, const uint8_t* rows, int64_t group, int lane);
// The entries of a group of lanes, their values as they lie there, with the scales that these may have; or as words.
// What is decoded or scaled is in memory of the calling thread, good until its next call.
GapEntries stored_entries(const GapView& view, const KernelTable& table, int64_t group);
GapEntries word_entries(const GapView& view, const KernelTable& table, int64_t group);
// Entries cost about as much as the dense weights around them: a guess that is only for waking workers.
int64_t entries_ns(const GapView& view, int64_t batch);

// Writes gaps and values, zeroed before, for rows and directory that are filled in. Returns whether the words are those
// that these were made from.
bool gaps_encode(const uint8_t* words, const Geometry& geometry, DType dtype, const uint64_t* directory,
                 const uint8_t* rows, uint8_t* gaps, uint8_t* values, int threads);

// The operators of split (operators.hpp).
void gaps_decode_window(const GapView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                        int64_t first_element, int64_t elements, uint8_t* out, int threads);
uint32_t gaps_access(const GapView& view, int64_t matrix, int64_t row, int64_t column);
int64_t gaps_pick_rows(const GapView& view, const KernelTable& table, const int64_t* wanted, int64_t count,
                       uint8_t* out, int threads);
void gaps_linear(const GapView& view, const KernelTable& table, const Rows& rows, int threads);
// Of integers of 8 bits; as integer_linear.
bool gaps_integer_linear(const GapView& view, bool is_signed, const KernelTable& table, const IntegerRows& rows,
                         int threads);
void gaps_linear_transposed(const GapView& view, const KernelTable& table, const Rows& rows, int threads);

}  // namespace tersely
