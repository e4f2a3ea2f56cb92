// y = scale (w - zero) x + bias with integers throughout. Float x becomes integers of 24 bits, one power of two
// for a batch row, sliced into three of 8 bits or two of 12, as kernels take them. Then every sum is exact, in 32
// bits inside a segment and in 64 across, and there is one rounding at the end: the bits of y depend neither on threads
// nor on the instruction set, nor on how the weights are stored.
//
//     |x - 2^e integer| <= 1.01 x 2^-23 max |x|        sum w x = sum f x + (base - zero) sum x
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/words/integer/integer.hpp"

namespace tersely {

// The largest integer whose highest slice of 8 bits fits; the same for slices of 12, so that the bits of y do not
// depend on how the weights are stored either.
constexpr int32_t kLargest = 0x7F7F7F;

// x in slices, the lowest first, zeros beyond its columns.
template <class Slice>
struct Slices {
  static constexpr int kBits = sizeof(Slice) == 1 ? 8 : 12;
  const Slice* x;           // [batch][slices][width]
  const int32_t* integers;  // [batch][width], before they were sliced
  int64_t width;
  int count;
  const int64_t* sums;      // of the integers of each batch row
  const int64_t* all_sums;  // of those of columns that are not picked, too
  const double* scales;     // 2^e of each batch row
  const Slice* row(int64_t b) const { return x + b * count * width; }
  const int32_t* integers_of(int64_t b) const { return integers + b * width; }
};

// Writes the integers of a row and their slices. False where a value is not finite.
template <class Slice>
bool quantise_row(const KernelTable& table, const float* x, int64_t columns, int64_t width, int32_t* integers,
                  Slice* out, int64_t& sum, double& scale) {
  const float largest = table.largest_float(x, columns);
  if (!(largest <= std::numeric_limits<float>::max())) return false;
  int exponent = largest > 0 ? std::ilogb(largest) + 1 : 0;  // largest < 2^exponent
  if (std::ldexp(static_cast<double>(largest), 23 - exponent) > kLargest) ++exponent;
  scale = std::ldexp(1.0, exponent - 23);
  // In two steps, since one float does not hold the whole power; what the first one rounds comes to zero anyway.
  const int half = (23 - exponent) / 2;
  const float factors[2] = {std::ldexp(1.0F, half), std::ldexp(1.0F, 23 - exponent - half)};
  if constexpr (sizeof(Slice) == 1) {
    sum = table.slice_bytes(x, columns, factors, integers, out, width);
  } else {
    sum = table.slice_words(x, columns, factors, integers, out, width);
  }
  return true;
}

// Whether the largest of a row's integers, which has 23 bits, is over `most` times the mean of the others.
inline bool is_peaked(const int32_t* integers, int64_t columns, int64_t most) {
  int64_t sum = 0;
  int32_t largest = 0;
  for (int64_t i = 0; i < columns; ++i) {
    const int32_t size = std::abs(integers[i]);
    sum += size;
    largest = size > largest ? size : largest;
  }
  return (sum - largest) * most < columns * largest;
}

// Every column of x, whatever is picked.
template <class Slice>
bool quantise_all(const IntegerRows& rows, const KernelTable& table, int64_t columns, Slices<Slice>& out) {
  static thread_local Scratch scratch, floats_scratch;
  const int64_t width = ceil_div(columns, kFieldBlockColumns) * kFieldBlockColumns;
  const int count = rows.is_int8 ? 1 : 24 / Slices<Slice>::kBits;
  const auto per_row = width * count * static_cast<int64_t>(sizeof(Slice));
  auto* memory = scratch.get<uint8_t>(rows.batch * (per_row + width * 4 + 16));
  auto* sums = reinterpret_cast<int64_t*>(memory);
  auto* scales = reinterpret_cast<double*>(sums + rows.batch);
  auto* integers = reinterpret_cast<int32_t*>(scales + rows.batch);
  auto* x = reinterpret_cast<Slice*>(integers + rows.batch * width);
  for (int64_t b = 0; b < rows.batch; ++b) {
    Slice* to = x + b * count * width;
    for (int s = 0; s < count; ++s)
      std::memset(to + s * width + columns, 0, static_cast<size_t>(width - columns) * sizeof(Slice));
    std::memset(integers + b * width + columns, 0, static_cast<size_t>(width - columns) * 4);
    if (rows.is_int8) {
      const auto* from = static_cast<const int8_t*>(rows.x) + b * columns;
      int64_t sum = 0;
      for (int64_t i = 0; i < columns; ++i) {
        to[i] = from[i];
        integers[b * width + i] = from[i];
        sum += from[i];
      }
      sums[b] = sum;
      scales[b] = 1;
      continue;
    }
    const float* from = static_cast<const float*>(rows.x) + b * columns;
    if (rows.dtype != DType::kFloat32) {
      auto* floats = floats_scratch.get<float>(columns * 4 + 64);
      table.widen_words(rows.dtype, static_cast<const uint16_t*>(rows.x) + b * columns, columns, floats);
      from = floats;
    }
    if (!quantise_row(table, from, columns, width, integers + b * width, to, sums[b], scales[b])) return false;
    if (rows.max_peak != 0 && is_peaked(integers + b * width, columns, rows.max_peak)) return false;
  }
  out = {x, integers, width, count, sums, sums, scales};
  return true;
}

// The picked columns of x in slices, zeros beyond them.
template <class Slice>
Slices<Slice> pick_columns(const IntegerRows& rows, int64_t columns, const Slices<Slice>& all) {
  static thread_local Scratch scratch;
  const int64_t width = ceil_div(columns, kFieldBlockColumns) * kFieldBlockColumns;
  const auto per_row = width * all.count * static_cast<int64_t>(sizeof(Slice));
  auto* sums = scratch.get<int64_t>(rows.batch * (per_row + width * 4 + 8));
  auto* integers = reinterpret_cast<int32_t*>(sums + rows.batch);
  auto* x = reinterpret_cast<Slice*>(integers + rows.batch * width);
  std::memset(integers, 0, static_cast<size_t>(rows.batch * (per_row + width * 4)));
  for (int64_t b = 0; b < rows.batch; ++b) {
    const int32_t* from = all.integers_of(b);
    int64_t sum = 0;
    for (int64_t i = 0; i < columns; ++i) sum += integers[b * width + i] = from[rows.picked[i]];
    sums[b] = sum;
    for (int s = 0; s < all.count; ++s) {
      const Slice* slice = all.row(b) + s * all.width;
      Slice* to = x + (b * all.count + s) * width;
      for (int64_t i = 0; i < columns; ++i) to[i] = slice[rows.picked[i]];
    }
  }
  return {x, integers, width, all.count, sums, all.sums, all.scales};
}

// columns: of the weights.
template <class Slice>
bool quantise_x(const IntegerRows& rows, const KernelTable& table, int64_t columns, Slices<Slice>& out) {
  if (!quantise_all(rows, table, rows.picked == nullptr ? columns : rows.x_columns, out)) return false;
  if (rows.picked != nullptr) out = pick_columns(rows, columns, out);
  for (int64_t b = 0; b < rows.batch && rows.x_sums != nullptr; ++b) {
    rows.x_sums[b] = out.all_sums[b];
    rows.x_units[b] = out.scales[b];
  }
  return true;
}

// The value of a row, with its bias, to out[at]; x was floats.
inline void store_float(const IntegerRows& rows, int64_t row, int64_t at, double value) {
  if (rows.bias != nullptr) value += static_cast<double>(static_cast<const float*>(rows.bias)[row]);
  const auto rounded = static_cast<float>(value);
  if (rows.dtype == DType::kFloat32) {
    static_cast<float*>(rows.out)[at] = rounded;
  } else {
    static_cast<uint16_t*>(rows.out)[at] =
        rows.dtype == DType::kBfloat16 ? float_to_bfloat16(rounded) : float_to_float16(rounded);
  }
}

// A row's exact sum likewise; x was int8.
inline void store_integer(const IntegerRows& rows, int64_t row, int64_t at, int64_t total) {
  if (rows.bias != nullptr) total += static_cast<const int32_t*>(rows.bias)[row];
  static_cast<int32_t*>(rows.out)[at] = static_cast<int32_t>(total);
}

// y of a row in x's batch row b, out[at], by its exact sum of (w - zero) x.
inline void store(const IntegerRows& rows, int64_t row, int64_t at, int64_t total, double unit) {
  if (rows.is_int8) {
    store_integer(rows, row, at, total);
  } else {
    store_float(rows, row, at, static_cast<double>(total) * (rows.scale[row * rows.scale_step] * unit));
  }
}

// totals: [slices][16] sums of what the weights count from `base`; writes `count` rows from `first` on.
template <class Slice>
void finish(const IntegerRows& rows, const Slices<Slice>& slices, int64_t outer, int64_t b, int64_t first,
            int64_t count, int64_t base, const int64_t* totals) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = first + i;
    int64_t total = 0;
    for (int s = slices.count - 1; s >= 0; --s) total = total * (1 << Slices<Slice>::kBits) + totals[s * 16 + i];
    total += base * slices.sums[b] - rows.zero[row * rows.zero_step] * slices.all_sums[b];
    store(rows, row, b * outer + row, total, slices.scales[b]);
  }
}

// About how long a product takes one worker.
inline int64_t integer_product_ns(int64_t weights, int64_t batch) { return weights * (batch + 1) / 25; }

}  // namespace tersely
