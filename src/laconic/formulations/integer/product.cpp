// y = scale (w - zero) x + bias with whole numbers throughout. Float x becomes integers of 24 bits, one power of two
// for a batch row, cut into slices: three of 8 bits for fields, two of 12 for weights as they are. Then every sum is
// exact, in 32 bits inside a segment and in 64 across, and there is one rounding at the end: the bits of y depend
// neither on threads nor on the instruction set, nor on how the weights are stored.
//
//     |x - 2^e integer| <= 1.01 x 2^-23 max |x|        sum w x = sum f x + (base - zero) sum x
#include <algorithm>
#include <cmath>
#include <cstring>

#include "laconic/base/parallel.hpp"
#include "laconic/formulations/integer/integer.hpp"
#include "laconic/formulations/split/rows.hpp"
#include "laconic/formulations/split/scratch.hpp"
#include "laconic/formulations/split/walk.hpp"
#include "laconic/kernels/scalar/floats.hpp"

namespace laconic {
namespace {

constexpr int64_t kBatchBlock = 16;
constexpr int64_t kTotals = 3 * 16;  // of a panel and batch row, by slice and row

// The largest integer whose highest slice of 8 bits fits; the same for slices of 12, so that the bits of y do not
// depend on how the weights are stored either.
constexpr int32_t kLargest = 0x7F7F7F;

// x in slices, the lowest first, zeros beyond its columns.
template <class Slice>
struct Slices {
  static constexpr int kBits = sizeof(Slice) == 1 ? 8 : 12;
  const Slice* x;           // [batch][slices][width]
  const int32_t* integers;  // [batch][width], before they were cut
  int64_t width;
  int count;
  const int64_t* sums;   // of the integers of each batch row
  const double* scales;  // 2^e of each batch row
  const Slice* row(int64_t b) const { return x + b * count * width; }
  const int32_t* integers_of(int64_t b) const { return integers + b * width; }
};

// Writes integers, and `count` slices of them of width places each. False where a value is not finite.
template <class Slice>
bool cut_row(const float* x, int64_t columns, int count, int64_t width, int32_t* integers, Slice* out, int64_t& sum,
             double& scale) {
  constexpr int kBits = Slices<Slice>::kBits;
  int32_t top = 0;
  for (int64_t i = 0; i < columns; ++i) {
    int32_t word;
    std::memcpy(&word, x + i, 4);
    word &= 0x7FFFFFFF;
    top = word > top ? word : top;
  }
  if (top >= 0x7F800000) return false;
  float largest;
  std::memcpy(&largest, &top, 4);
  int exponent = largest > 0 ? std::ilogb(largest) + 1 : 0;  // largest < 2^exponent
  if (std::ldexp(static_cast<double>(largest), 23 - exponent) > kLargest) ++exponent;
  scale = std::ldexp(1.0, exponent - 23);
  const double inverse = std::ldexp(1.0, 23 - exponent);
  sum = 0;
  for (int64_t i = 0; i < columns; ++i) {
    const double value = static_cast<double>(x[i]) * inverse;
    auto rest = static_cast<int32_t>(value + (value < 0 ? -0.5 : 0.5));
    sum += rest;
    integers[i] = rest;
    for (int s = 0; s + 1 < count; ++s) {
      const int32_t above = (rest + (1 << (kBits - 1))) >> kBits;
      out[s * width + i] = static_cast<Slice>(rest - (above << kBits));
      rest = above;
    }
    out[(count - 1) * width + i] = static_cast<Slice>(rest);
  }
  return true;
}

template <class Slice>
bool cut(const IntegerRows& rows, const KernelTable& table, int64_t columns, Slices<Slice>& out) {
  static thread_local Scratch scratch, floats_scratch;
  const int64_t width = ceil_div(columns, kFieldBlockColumns) * kFieldBlockColumns;
  const int count = rows.whole ? 1 : 24 / Slices<Slice>::kBits;
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
    if (rows.whole) {
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
    if (!cut_row(from, columns, count, width, integers + b * width, to, sums[b], scales[b])) return false;
  }
  out = {x, integers, width, count, sums, scales};
  return true;
}

// totals: [slices][16] sums of what the weights count from `base`; writes `count` rows from `first` on.
template <class Slice>
void finish(const IntegerRows& rows, const Slices<Slice>& slices, int64_t outer, int64_t b, int64_t first,
            int64_t count, int64_t base, const int64_t* totals) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = first + i;
    int64_t total = 0;
    for (int s = slices.count - 1; s >= 0; --s) total = total * (1 << Slices<Slice>::kBits) + totals[s * 16 + i];
    total += (base - rows.zero[row * rows.zero_step]) * slices.sums[b];
    const int64_t at = b * outer + row;
    if (rows.whole) {
      if (rows.bias != nullptr) total += static_cast<const int32_t*>(rows.bias)[row];
      static_cast<int32_t*>(rows.out)[at] = static_cast<int32_t>(total);
      continue;
    }
    double value = static_cast<double>(total) * (rows.scale[row * rows.scale_step] * slices.scales[b]);
    if (rows.bias != nullptr) value += static_cast<double>(static_cast<const float*>(rows.bias)[row]);
    const auto rounded = static_cast<float>(value);
    if (rows.dtype == DType::kFloat32) {
      static_cast<float*>(rows.out)[at] = rounded;
    } else {
      static_cast<uint16_t*>(rows.out)[at] =
          rows.dtype == DType::kBfloat16 ? float_to_bfloat16(rounded) : float_to_float16(rounded);
    }
  }
}

// Adds what the weights in the list differ by from the field 0 that stands for them.
void add_escapes(const IntegerView& view, int64_t segment, const FieldPart& part, const Slices<int8_t>& slices,
                 int64_t first_b, int64_t batch, int64_t* totals) {
  for (uint64_t k = view.directory[segment]; k < view.directory[segment + 1]; ++k) {
    uint16_t place;
    std::memcpy(&place, view.places + k * 2, 2);
    const int64_t chunk = place / kChunkWeights, inside = place % kChunkWeights;
    // SAFE BECAUSE: a place is payload; one beyond the segment is passed over, and x is padded to whole blocks.
    if (chunk >= part.panels * part.chunks) continue;
    const int64_t panel = part.panels == 1 ? 0 : chunk / part.chunks, column_chunk = chunk - panel * part.chunks;
    const int64_t column = (part.first_chunk + column_chunk) * kChunkColumns + inside % kChunkColumns;
    const int64_t difference = (view.escapes[k] ^ view.flip) - part.base, row = inside / kChunkColumns;
    // The lowest slice takes what the whole integer adds.
    for (int64_t b = 0; b < batch; ++b)
      totals[(b * part.panels + panel) * kTotals + row] += difference * slices.integers_of(first_b + b)[column];
  }
}

void multiply_unit(const IntegerView& view, const KernelTable& table, const IntegerRows& rows,
                   const Slices<int8_t>& slices, int64_t unit, int64_t first_b, int64_t batch) {
  static thread_local Scratch totals_scratch;
  const Geometry& g = view.geometry;
  const UnitPanels panels = unit_panels(g, unit);
  const int64_t panel_count = panels.last - panels.first, totals_bytes = batch * panel_count * kTotals * 8;
  auto* totals = totals_scratch.get<int64_t>(totals_bytes);
  std::memset(totals, 0, static_cast<size_t>(totals_bytes));
  int base = 0;
  for (int64_t s = 0; s < g.segments_per_panel; ++s) {
    const int64_t segment = unit * g.segments_per_panel + s;
    const FieldPart part = part_of(view, segment);
    base = part.base;
    const uint64_t listed = view.directory[segment];
    for (int line = 0; line < 4; ++line) __builtin_prefetch(view.places + listed * 2 + line * 64);
    for (int line = 0; line < 2; ++line) __builtin_prefetch(view.escapes + listed + line * 64);
    for (int64_t p = 0; p < panel_count; ++p) {
      const uint8_t* fields = part.fields + p * part.panel_bytes;
      // Each batch row takes the fields apart again, in cache: MEASURED with AVX2, bytes unpacked before are slower.
      for (int64_t b = 0; b < batch; ++b) {
        int32_t sums[kTotals];
        table.multiply_fields(fields, part.blocks, part.bits,
                              slices.row(first_b + b) + part.first_chunk * kChunkColumns, slices.width, slices.count,
                              sums);
        int64_t* own = totals + (b * panel_count + p) * kTotals;
        for (int i = 0; i < slices.count * 16; ++i) own[i] += sums[i];
      }
    }
    add_escapes(view, segment, part, slices, first_b, batch, totals);
  }
  const int64_t lowest = view.flip == 0 ? 0 : 128;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t p = 0; p < panel_count; ++p) {
      const int64_t first = (panels.first + p) * kPanelRows;
      finish(rows, slices, g.rows, first_b + b, first, std::min(kPanelRows, g.rows - first), base - lowest,
             totals + (b * panel_count + p) * kTotals);
    }
}

int64_t integer_product_ns(int64_t weights, int64_t batch) { return weights * (batch + 1) / 25; }

}  // namespace

bool integer_linear(const IntegerView& view, const KernelTable& table, const IntegerRows& rows, int threads) {
  const Geometry& g = view.geometry;
  Slices<int8_t> slices{};
  if (!cut(rows, table, g.columns, slices)) return false;
  threads = workers_worth_waking(threads, integer_product_ns(g.rows * g.columns, rows.batch));
  parallel_for(threads, g.units, [&](int64_t unit) {
    for (int64_t b = 0; b < rows.batch; b += kBatchBlock)
      multiply_unit(view, table, rows, slices, unit, b, std::min(kBatchBlock, rows.batch - b));
  });
  return true;
}

bool dense_integer_linear(const uint8_t* words, bool is_signed, int64_t matrix_rows, int64_t columns,
                          const KernelTable& table, const IntegerRows& rows, int threads) {
  constexpr int64_t kRows = 4;
  Slices<int16_t> slices{};
  if (!cut(rows, table, columns, slices)) return false;
  threads = workers_worth_waking(threads, integer_product_ns(matrix_rows * columns, rows.batch));
  parallel_for(threads, ceil_div(matrix_rows, kPanelRows), [&](int64_t panel) {
    for (int64_t b = 0; b < rows.batch; ++b) {
      int64_t totals[2 * 16] = {};
      const int64_t first = panel * kPanelRows, count = std::min(kPanelRows, matrix_rows - first);
      for (int64_t r = 0; r < count; r += kRows)
        for (int64_t column = 0; column < columns; column += kSegmentColumns) {
          const uint8_t* at[kRows];
          for (int64_t k = 0; k < kRows; ++k) at[k] = words + (first + std::min(r + k, count - 1)) * columns + column;
          int32_t sums[2 * kRows];
          table.multiply_bytes(at, std::min(kSegmentColumns, columns - column), is_signed, slices.row(b) + column,
                               slices.width, slices.count, sums);
          for (int s = 0; s < slices.count; ++s)
            for (int64_t k = 0; k < kRows; ++k) totals[s * 16 + r + k] += sums[s * kRows + k];
        }
      finish(rows, slices, matrix_rows, b, first, count, 0, totals);
    }
  });
  return true;
}

}  // namespace laconic
