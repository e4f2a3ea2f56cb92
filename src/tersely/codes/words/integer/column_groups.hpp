// Products whose scales and zeros belong to groups of neighbouring columns: the sum of a group is exact, as in
// slices.hpp; scaled ones are added up as doubles, from the first group on, so that here, too, the bits of y depend
// neither on threads nor on the instruction set, nor on how the weights are stored. One group is the product without
// groups.
#pragma once

#include "tersely/codes/words/integer/slices.hpp"

namespace tersely {

struct ColumnGroups {
  int64_t count, columns;  // columns: of each group
  const int64_t* sums;     // of the integers of x: [batch][count]
  int64_t end(int64_t column) const { return (column / columns + 1) * columns; }
};

// Valid until the calling thread asks for the next ones.
template <class Slice>
ColumnGroups column_groups(const IntegerRows& rows, const Slices<Slice>& slices, int64_t columns) {
  static thread_local Scratch scratch;
  if (rows.groups == 1) return {1, columns, slices.sums};
  const int64_t each = columns / rows.groups;
  auto* sums = scratch.get<int64_t>(rows.batch * rows.groups * 8);
  for (int64_t b = 0; b < rows.batch; ++b)
    for (int64_t group = 0; group < rows.groups; ++group) {
      const int32_t* integers = slices.integers_of(b) + group * each;
      int64_t sum = 0;
      for (int64_t i = 0; i < each; ++i) sum += integers[i];
      sums[b * rows.groups + group] = sum;
    }
  return {rows.groups, each, sums};
}

// totals[i] += what the slices' sums [slices][Stride] of some columns are together: integers below 2^53, which
// doubles hold.
template <int64_t Stride, int Count, int Bits>
void add_slices(const int32_t* sums, double* totals) {
  for (int64_t i = 0; i < Stride; ++i) {
    double total = sums[(Count - 1) * Stride + i];
    for (int s = Count - 2; s >= 0; --s) total = total * (1 << Bits) + sums[s * Stride + i];
    totals[i] += total;
  }
}

template <int64_t Stride, class Slice>
void add_sums(const Slices<Slice>& slices, const int32_t* sums, double* totals) {
  constexpr int kBits = Slices<Slice>::kBits;
  if (slices.count == 1) return add_slices<Stride, 1, kBits>(sums, totals);
  add_slices<Stride, 24 / kBits, kBits>(sums, totals);
}

// Adds a group of rows [first, first + count) to their values. totals: sums of what the weights count from `base`,
// zeroed for the next group.
template <class Slice>
void close_group(const IntegerRows& rows, const Slices<Slice>& slices, const ColumnGroups& groups, int64_t group,
                 int64_t b, int64_t first, int64_t count, int64_t base, double* totals, double* values) {
  const auto sum = static_cast<double>(groups.sums[b * groups.count + group]);
  const double* scale = rows.scale + first * rows.scale_step + group * rows.scale_group;
  const int32_t* zero = rows.zero + first * rows.zero_step + group * rows.zero_group;
  const double unit = slices.scales[b];
  for (int64_t i = 0; i < count; ++i) {
    const double total = totals[i] + static_cast<double>(base - zero[i * rows.zero_step]) * sum;
    const double value = total * (scale[i * rows.scale_step] * unit);
    values[i] = group == 0 ? value : values[i] + value;
    totals[i] = 0;
  }
}

inline void store_values(const IntegerRows& rows, int64_t outer, int64_t b, int64_t first, int64_t count,
                         const double* values) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = b * outer + first + i;
    if (rows.is_int8) {
      store_integer(rows, first + i, at, static_cast<int64_t>(values[i]));
    } else {
      store_float(rows, first + i, at, values[i]);
    }
  }
}

}  // namespace tersely
