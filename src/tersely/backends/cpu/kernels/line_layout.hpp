// Numbers of 1, 2, 4 or 8 bits in lines: 64 bytes of a row, 16 dwords, whose fields of so many bits from the lowest up
// are 16 neighbouring columns each. So a register is shifted from 16 columns to the next, permutes look its low bits
// up, and x is read as it is.
//
//     column of a line = field x 16 + dword            512 / bits columns a line
//
// Segment after segment of a panel, row after row of 16, a row's lines follow each other. FORMAT: docs/FORMAT.md,
// "Fields by rows".
#pragma once

#include <cstdint>

namespace tersely {

constexpr int64_t kLineBytes = 64;
constexpr int64_t kStepColumns = 16;  // of a field of all dwords
constexpr int64_t line_columns(int bits) { return 512 / bits; }
constexpr int64_t line_steps(int bits) { return 32 / bits; }

// What kernels multiply: neighbouring lines of 16 rows, all of a segment or some.
struct LinesPart {
  const uint8_t* lines;   // of the first row
  int64_t row_bytes;      // to the next row's
  int64_t lines_per_row;  // that are multiplied
  int bits;
  int64_t group_steps;  // steps that have a scale and a zero, or a table, in common: a power of two
  const float* scales;  // [groups][16 rows]
  const float* zeros;   // likewise
  const float* tables;  // null, or instead of these, up to 4 bits: [groups][16 rows][16] what fields stand for, again
                        // from the first on behind the last
};

// The bits at (row, column) of a part.
inline uint8_t line_field(const uint8_t* row, int bits, int64_t column) {
  const int64_t line = column / line_columns(bits), inside = column % line_columns(bits);
  const int64_t shift = inside / kStepColumns * bits;
  const uint8_t* dword = row + line * kLineBytes + inside % kStepColumns * 4;
  return static_cast<uint8_t>(dword[shift / 8] >> (shift % 8) & ((1 << bits) - 1));
}

}  // namespace tersely
