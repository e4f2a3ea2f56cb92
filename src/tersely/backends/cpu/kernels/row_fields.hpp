// What kernels of row fields (kernels/row_fields_layout.hpp) of all instruction sets share: how they go through 16
// rows, and which of them a call takes. Included by kernel files only, which define TERSELY_INLINE and
// TERSELY_ROW_FIELDS_SINK (of lambdas); everything is internal to them.
#pragma once

#include <type_traits>

#include "tersely/backends/cpu/kernels/row_fields_layout.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// Veltkamp's splitting: w x this, minus that minus w, is w rounded to the 8 bits of bfloat16, to nearest, and ties to
// even here. T. J. Dekker, "A floating-point technique for extending the available precision", 1971,
// doi:10.1007/BF01397083.
constexpr float kSplitter = 0x1p16F + 1;
constexpr int kIntegerBits = 0x4B000000;  // the bits of 2^23, whose lowest are those of integers added to it

// Calls begin(group), step(row, a line whose lowest fields are next, x of their columns) and end(group) for `Rows` rows
// side by side. Line: registers of 64 bytes, with load(at) and shift<Bits>(). Whatever lies above the lowest fields is
// no matter: from byte to byte of dwords, a load from there is a shift that takes no arithmetic port.
template <class Line, int Bits, int Rows, class Begin, class Step, class End>
TERSELY_INLINE void for_steps(const RowFieldsPart& part, int64_t row, const float* x, Begin&& begin, Step&& step,
                              End&& end) {
  constexpr int kSteps = static_cast<int>(line_steps(Bits)), kUnrolled = kSteps < 8 ? kSteps : 8;
  const uint8_t* at = part.lines + row * part.row_bytes;
  Line lines[Rows];
  // Groups shorter than a line, of so many steps each.
  const auto grouped = [&](auto steps) TERSELY_ROW_FIELDS_SINK {
    int64_t group = 0;
    for (int64_t line = 0; line < part.lines_per_row; ++line, at += kLineBytes) {
#pragma GCC unroll 4
      for (int k = 0; k < Rows; ++k) {
        lines[k].load(at + k * part.row_bytes);
        __builtin_prefetch(at + (k + Rows) * part.row_bytes);
      }
      for (int64_t done = 0; done < kSteps; done += steps, ++group) {
        begin(group);
#pragma GCC unroll 4
        for (int64_t i = 0; i < steps; ++i, x += kStepColumns)
#pragma GCC unroll 4
          for (int k = 0; k < Rows; ++k) {
            step(k, lines[k], x);
            lines[k].template shift<Bits>();
          }
        end(group);
      }
    }
  };
  if (part.group_steps < kSteps) {
    if (part.group_steps == 1) return grouped(std::integral_constant<int64_t, 1>{});
    if (part.group_steps == 2) return grouped(std::integral_constant<int64_t, 2>{});
    if (part.group_steps == 4) return grouped(std::integral_constant<int64_t, 4>{});
    return grouped(part.group_steps);
  }
  const int64_t lines_per_group = part.group_steps / kSteps;
  for (int64_t line = 0, group = 0; line < part.lines_per_row; ++group) {
    const int64_t left = part.lines_per_row - line, count = left < lines_per_group ? left : lines_per_group;
    begin(group);
    for (int64_t i = 0; i < count; ++i, at += kLineBytes) {
#pragma GCC unroll 4
      for (int k = 0; k < Rows; ++k) __builtin_prefetch(at + (k + Rows) * part.row_bytes);
      for (int done = 0; done < kSteps; done += kUnrolled)
#pragma GCC unroll 8
        for (int next = 0; next < kUnrolled; ++next, x += kStepColumns)
#pragma GCC unroll 4
          for (int k = 0; k < Rows; ++k) {
            // SAFE BECAUSE: three bytes behind a line are still the stream's, or its slack.
            if (next * Bits % 8 == 0) {
              lines[k].load(at + k * part.row_bytes + (done + next) * Bits / 8);
            } else {
              lines[k].template shift<Bits>();
            }
            step(k, lines[k], x);
          }
    }
    end(group);
    line += count;
  }
}

// Kernels: multiply<Bits, D, Batch> for up to 4 bits, and multiply_bytes<D, Batch>.
template <class Kernels, int Bits, DType D>
void multiply_rows(const RowFieldsPart& part, const float* x, int64_t x_stride, int batch, float* sums) {
  const auto run = [&](auto rows) {
    if constexpr (Bits == 8) {
      Kernels::template multiply_bytes<D, decltype(rows)::value>(part, x, x_stride, sums);
    } else {
      Kernels::template multiply<Bits, D, decltype(rows)::value>(part, x, x_stride, sums);
    }
  };
  if (batch == 1) return run(std::integral_constant<int, 1>{});
  if (batch == 2) return run(std::integral_constant<int, 2>{});
  run(std::integral_constant<int, 4>{});
}

template <class Kernels, DType D>
void multiply_row_fields(const RowFieldsPart& part, const float* x, int64_t x_stride, int batch, float* sums) {
  switch (part.bits) {
    case 1:
      return multiply_rows<Kernels, 1, D>(part, x, x_stride, batch, sums);
    case 2:
      return multiply_rows<Kernels, 2, D>(part, x, x_stride, batch, sums);
    case 4:
      return multiply_rows<Kernels, 4, D>(part, x, x_stride, batch, sums);
    default:
      return multiply_rows<Kernels, 8, D>(part, x, x_stride, batch, sums);
  }
}

template <class Kernels>
void fill_row_fields(KernelTable& table) {
  table.multiply_row_fields[0] = multiply_row_fields<Kernels, DType::kFloat32>;
  table.multiply_row_fields[1] = multiply_row_fields<Kernels, DType::kBfloat16>;
  table.multiply_row_fields[2] = multiply_row_fields<Kernels, DType::kFloat16>;
}

}  // namespace
}  // namespace tersely
