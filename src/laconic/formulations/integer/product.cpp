// y = scale (w - zero) x + bias with whole numbers throughout. Float x becomes 24-bit integers, one power of two for a
// batch row, cut into two slices of 12 bits; then every sum is exact, in 32 bits inside a segment and in 64 across, and
// there is one rounding at the end. So the bits of y depend neither on threads nor on the instruction set.
//
//     x = 2^e (4096 high + low), |x - that| <= 2^-23 max |x|        sum w x = sum f x + (base - zero) sum x
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
constexpr int kSliceBits = 12;
constexpr int kIntegerBits = 24;
// MEASURED with AVX2: from three rows on it pays to unpack a segment once for all of them.
constexpr int64_t kDirectRows = 2;

// x as slices of int16, zeros beyond its columns.
struct Slices {
  const int16_t* x;  // [batch][slices][width]
  int64_t width;
  int count;
  const int64_t* sums;   // of the whole numbers of each batch row
  const double* scales;  // 2^e of each batch row
  const int16_t* row(int64_t b) const { return x + b * count * width; }
};

// False where a value is not finite.
bool cut_row(const float* x, int64_t columns, int16_t* high, int16_t* low, int64_t& sum, double& scale) {
  float largest = 0;
  bool finite = true;
  for (int64_t i = 0; i < columns; ++i) {
    const float size = std::fabs(x[i]);
    finite &= size <= 3.402823466e38f;
    largest = size > largest ? size : largest;
  }
  if (!finite) return false;
  const int exponent = largest > 0 ? std::ilogb(largest) + 1 : 0;  // largest < 2^exponent
  scale = std::ldexp(1.0, exponent - (kIntegerBits - 1));
  const double inverse = std::ldexp(1.0, kIntegerBits - 1 - exponent);
  sum = 0;
  for (int64_t i = 0; i < columns; ++i) {
    // |x| < 2^exponent, so the integer is at most 2^23 in size, and the low slice in [-2048, 2047].
    const double value = static_cast<double>(x[i]) * inverse;
    const auto whole = static_cast<int32_t>(value + (value < 0 ? -0.5 : 0.5));
    sum += whole;
    const int32_t upper = (whole + (1 << (kSliceBits - 1))) >> kSliceBits;
    high[i] = static_cast<int16_t>(upper);
    low[i] = static_cast<int16_t>(whole - (upper << kSliceBits));
  }
  return true;
}

bool cut(const IntegerRows& rows, const KernelTable& table, int64_t columns, Slices& out) {
  static thread_local Scratch scratch, floats_scratch;
  const int64_t width = ceil_div(columns, kFieldBlockColumns) * kFieldBlockColumns;
  const int count = rows.whole ? 1 : 2;
  const int64_t per_row = width * count * 2;
  auto* memory = scratch.get<uint8_t>(rows.batch * (per_row + 16));
  auto* x = reinterpret_cast<int16_t*>(memory);
  auto* sums = reinterpret_cast<int64_t*>(memory + rows.batch * per_row);
  auto* scales = reinterpret_cast<double*>(sums + rows.batch);
  std::memset(memory, 0, static_cast<size_t>(rows.batch * per_row));
  for (int64_t b = 0; b < rows.batch; ++b) {
    int16_t* to = x + b * count * width;
    if (rows.whole) {
      const auto* from = static_cast<const int8_t*>(rows.x) + b * columns;
      sums[b] = 0;
      scales[b] = 1;
      for (int64_t i = 0; i < columns; ++i) {
        to[i] = from[i];
        sums[b] += from[i];
      }
      continue;
    }
    const float* from = static_cast<const float*>(rows.x) + b * columns;
    if (rows.dtype != DType::kFloat32) {
      auto* floats = floats_scratch.get<float>(columns * 4 + 64);
      table.widen_words(rows.dtype, static_cast<const uint16_t*>(rows.x) + b * columns, columns, floats);
      from = floats;
    }
    if (!cut_row(from, columns, to, to + width, sums[b], scales[b])) return false;
  }
  out = {x, width, count, sums, scales};
  return true;
}

// totals: [slices][16] sums of what the weights count from `base`; writes `count` rows from `first` on.
void finish(const IntegerRows& rows, const Slices& slices, int64_t outer, int64_t b, int64_t first, int64_t count,
            int64_t base, const int64_t* totals) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = first + i;
    int64_t total = slices.count == 1 ? totals[i] : totals[i] * (1 << kSliceBits) + totals[16 + i];
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
void add_escapes(const IntegerView& view, int64_t segment, const FieldPart& part, const Slices& slices, int64_t first_b,
                 int64_t batch, int64_t* totals) {
  for (uint64_t k = view.directory[segment]; k < view.directory[segment + 1]; ++k) {
    uint16_t place;
    std::memcpy(&place, view.places + k * 2, 2);
    const int64_t chunk = place / kChunkWeights, inside = place % kChunkWeights;
    // SAFE BECAUSE: a place is payload; one beyond the segment is passed over, and x is padded to whole blocks.
    if (chunk >= part.panels * part.chunks) continue;
    const int64_t panel = part.panels == 1 ? 0 : chunk / part.chunks, column_chunk = chunk - panel * part.chunks;
    const int64_t column = (part.first_chunk + column_chunk) * kChunkColumns + inside % kChunkColumns;
    const int64_t difference = (view.escapes[k] ^ view.flip) - part.base, row = inside / kChunkColumns;
    for (int64_t b = 0; b < batch; ++b)
      for (int s = 0; s < slices.count; ++s)
        totals[((b * part.panels + panel) * 2 + s) * 16 + row] +=
            difference * slices.row(first_b + b)[s * slices.width + column];
  }
}

void multiply_unit(const IntegerView& view, const KernelTable& table, const IntegerRows& rows, const Slices& slices,
                   int64_t unit, int64_t first_b, int64_t batch) {
  static thread_local Scratch totals_scratch, fields_scratch;
  const Geometry& g = view.geometry;
  const UnitPanels panels = unit_panels(g, unit);
  const int64_t panel_count = panels.last - panels.first, totals_bytes = batch * panel_count * 2 * 16 * 8;
  auto* totals = totals_scratch.get<int64_t>(totals_bytes);
  std::memset(totals, 0, static_cast<size_t>(totals_bytes));
  int base = 0;
  for (int64_t s = 0; s < g.segments_per_panel; ++s) {
    const int64_t segment = unit * g.segments_per_panel + s;
    const FieldPart part = part_of(view, segment);
    base = part.base;
    for (int64_t p = 0; p < panel_count; ++p) {
      const uint8_t* fields = part.fields + p * part.panel_bytes;
      int bits = part.bits;
      if (batch > kDirectRows && bits != 0) {
        auto* unpacked = fields_scratch.get<uint8_t>(part.blocks * kFieldBlockWeights + 64);
        table.unpack_fields(fields, part.blocks, bits, 0, 0, unpacked);
        fields = unpacked;
        bits = 8;
      }
      for (int64_t b = 0; b < batch; ++b) {
        int32_t sums[2 * 16];
        table.multiply_fields(fields, part.blocks, bits, slices.row(first_b + b) + part.first_chunk * kChunkColumns,
                              slices.width, slices.count, sums);
        int64_t* own = totals + (b * panel_count + p) * 2 * 16;
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
             totals + (b * panel_count + p) * 2 * 16);
    }
}

int64_t integer_product_ns(int64_t weights, int64_t batch) { return weights * (batch + 1) / 25; }

}  // namespace

bool integer_linear(const IntegerView& view, const KernelTable& table, const IntegerRows& rows, int threads) {
  const Geometry& g = view.geometry;
  Slices slices{};
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
  Slices slices{};
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
