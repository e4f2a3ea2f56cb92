// The formulation `integer`: fields of a few bits above a base, one pair of bits and base for each unit, and a list of
// the weights that these cannot hold. FORMAT: docs/FORMAT.md, "Fields by blocks"; layout.py draws a block.
#pragma once

#include <vector>

#include "tersely/backends/cpu/matrix/integer_rows.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"

namespace tersely {

constexpr int64_t kFieldBlockColumns = 16;
constexpr int64_t kFieldBlockWeights = 256;
constexpr int64_t kFieldBlockChunks = 4;
constexpr int64_t kFieldRunBytes = 32;

struct IntegerView {
  Geometry geometry;
  uint8_t flip;  // word ^ flip is the level: 0x80 for int8, 0 for uint8
  const uint8_t* fields;
  const uint8_t* groups;      // [units][2]: bits, base
  const int64_t* starts;      // [units]: where a unit's fields begin
  const uint8_t* positions;   // little-endian u16 each, inside the segment
  const uint8_t* escapes;     // words
  const uint64_t* directory;  // [segments + 1], in escapes
};

// A segment with what its fields need.
struct FieldPart {
  int64_t unit, first_panel, panels, first_chunk, chunks, blocks;
  int bits, base;
  const uint8_t* fields;  // of the first panel's first block
  int64_t panel_bytes;    // from a panel's first block to the next panel's
};
FieldPart part_of(const IntegerView& view, int64_t segment);

// IntegerView::starts, from the groups' bits.
std::vector<int64_t> field_starts(const Geometry& geometry, const uint8_t* groups);

// levels: uint32 [segments][256], zeroed before: how often each level occurs.
void integer_statistics(const uint8_t* words, const Geometry& geometry, uint8_t flip, uint32_t* levels, int threads);
// Writes fields, positions and escapes, zeroed before; groups and directory are filled in. Returns whether the words
// are those that these were made from.
bool integer_encode(const uint8_t* words, const IntegerView& view, uint8_t* fields, uint8_t* positions,
                    uint8_t* escapes, int threads);

// The operators of split (operators.hpp).
void integer_decode_window(const IntegerView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                           int64_t first_element, int64_t elements, uint8_t* out, int threads);
// The words of a segment chunk by chunk, column * 16 + row in a chunk; `scratch` has kSegmentWeights bytes.
void integer_segment(const IntegerView& view, const KernelTable& table, int64_t segment, uint8_t* scratch,
                     uint8_t* out);
// As CodedMatrix::decode_chunks.
void integer_chunks(const IntegerView& view, const KernelTable& table, int64_t unit, uint8_t* out);
uint32_t integer_access(const IntegerView& view, int64_t matrix, int64_t row, int64_t column);
int64_t integer_pick_rows(const IntegerView& view, const KernelTable& table, const int64_t* wanted, int64_t count,
                          uint8_t* out, int threads);

// False, with nothing written, where x holds an infinity or a NaN. Groups have whole blocks of columns.
bool integer_linear(const IntegerView& view, const KernelTable& table, const IntegerRows& rows, int threads);
// The same for weights as they are, [rows][columns] words without slack.
bool dense_integer_linear(const uint8_t* words, bool is_signed, int64_t matrix_rows, int64_t columns,
                          const KernelTable& table, const IntegerRows& rows, int threads);

// The same for 4-bit weights, two a byte, the low half first: [rows][columns / 2]; signed ones are two's complement.
bool pair_integer_linear(const uint8_t* pairs, bool is_signed, int64_t matrix_rows, int64_t columns,
                         const KernelTable& table, const IntegerRows& rows, int threads);

// The same for 8-bit weights that are walked, as they are or as distances folded about view.folding's centre.
bool walked_integer_linear(const MatrixView& view, bool is_signed, const KernelTable& table, const IntegerRows& rows,
                           int threads);

}  // namespace tersely
