// y = scale (w - zero) x + bias for fields and for weights as they are, by slices of x (slices.hpp).
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/codes/words/integer/column_groups.hpp"

namespace tersely {
namespace {

constexpr int64_t kBatchBlock = 16;
constexpr int64_t kTotals = 3 * 16;  // of a panel and batch row, by slice and row

// Adds what the weights in the list differ by from the field 0 that stands for them.
void add_escapes(const IntegerView& view, int64_t segment, const FieldPart& part, const Slices<int8_t>& slices,
                 int64_t first_b, int64_t batch, int64_t* totals) {
  for (uint64_t k = view.directory[segment]; k < view.directory[segment + 1]; ++k) {
    uint16_t position;
    std::memcpy(&position, view.positions + k * 2, 2);
    const int64_t chunk = position / kChunkWeights, inside = position % kChunkWeights;
    // SAFE BECAUSE: a position is payload; one beyond the segment is passed over, and x is padded to whole blocks.
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
    for (int line = 0; line < 4; ++line) __builtin_prefetch(view.positions + listed * 2 + line * 64);
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

// Where a column group lies in a segment: its first column in the matrix, its positions.
struct GroupPart {
  int64_t column, first_position, last_position;
};

// Adds the listed weights of a group, which follow those of the group before; returns where the next one's begin.
uint64_t add_group_escapes(const IntegerView& view, int base, const GroupPart& own, uint64_t from, uint64_t last,
                           const Slices<int8_t>& slices, int64_t first_b, int64_t batch, double* totals) {
  for (; from < last; ++from) {
    uint16_t position;
    std::memcpy(&position, view.positions + from * 2, 2);
    if (position >= own.last_position) break;
    // SAFE BECAUSE: a position is payload; in a damaged file one may lie before the group, and is passed over.
    if (position < own.first_position) continue;
    const int64_t inside = position - own.first_position, row = inside % kChunkWeights / kChunkColumns;
    const int64_t column = own.column + inside / kChunkWeights * kChunkColumns + inside % kChunkColumns;
    const int64_t difference = (view.escapes[from] ^ view.flip) - base;
    for (int64_t b = 0; b < batch; ++b)
      totals[b * kPanelRows + row] += static_cast<double>(difference * slices.integers_of(first_b + b)[column]);
  }
  return from;
}

// As multiply_unit; column groups are whole blocks. A panel's groups follow each other, beyond the ends of segments,
// too.
void multiply_unit_by_groups(const IntegerView& view, const KernelTable& table, const IntegerRows& rows,
                             const Slices<int8_t>& slices, const ColumnGroups& groups, int64_t unit, int64_t first_b,
                             int64_t batch) {
  double totals[kBatchBlock * kPanelRows] = {};
  double values[kBatchBlock * kPanelRows];
  const Geometry& g = view.geometry;
  const UnitPanels panels = unit_panels(g, unit);
  const int64_t lowest = view.flip == 0 ? 0 : 128;
  uint64_t escape = 0;
  for (int64_t p = 0; p < panels.last - panels.first; ++p) {
    const int64_t row = (panels.first + p) * kPanelRows, count = std::min(kPanelRows, g.rows - row);
    for (int64_t s = 0; s < g.segments_per_panel; ++s) {
      const int64_t segment = unit * g.segments_per_panel + s;
      const FieldPart part = part_of(view, segment);
      if (p == 0) escape = view.directory[segment];  // either one panel, or one segment
      const int64_t begin = part.first_chunk * kChunkColumns, stop = begin + part.chunks * kChunkColumns;
      for (int64_t column = begin, next; column < stop; column = next) {
        next = std::min(stop, groups.end(column));
        const uint8_t* fields =
            part.fields + p * part.panel_bytes + (column - begin) / kFieldBlockColumns * kFieldRunBytes * part.bits;
        for (int64_t b = 0; b < batch; ++b) {
          int32_t sums[kTotals];
          table.multiply_fields(fields, (next - column) / kFieldBlockColumns, part.bits,
                                slices.row(first_b + b) + column, slices.width, slices.count, sums);
          add_sums<kPanelRows>(slices, sums, totals + b * kPanelRows);
        }
        const int64_t weights = part.chunks * kChunkWeights;
        const GroupPart own{column, p * weights + (column - begin) * kPanelRows,
                            p * weights + (next - begin) * kPanelRows};
        escape = add_group_escapes(view, part.base, own, escape, view.directory[segment + 1], slices, first_b, batch,
                                   totals);
        if (next != groups.end(column)) continue;
        for (int64_t b = 0; b < batch; ++b)
          close_group(rows, slices, groups, column / groups.columns, first_b + b, row, count, part.base - lowest,
                      totals + b * kPanelRows, values + b * kPanelRows);
      }
    }
    for (int64_t b = 0; b < batch; ++b) store_values(rows, g.rows, first_b + b, row, count, values + b * kPanelRows);
  }
}

}  // namespace

bool integer_linear(const IntegerView& view, const KernelTable& table, const IntegerRows& rows, int threads) {
  const Geometry& g = view.geometry;
  Slices<int8_t> slices{};
  if (!quantise_x(rows, table, g.columns, slices)) return false;
  threads = workers_worth_waking(threads, integer_product_ns(g.rows * g.columns, rows.batch));
  const ColumnGroups groups = column_groups(rows, slices, g.columns);
  parallel_for(threads, g.units, [&](int64_t unit) {
    for (int64_t b = 0; b < rows.batch; b += kBatchBlock) {
      const int64_t batch = std::min(kBatchBlock, rows.batch - b);
      if (groups.count == 1) {
        multiply_unit(view, table, rows, slices, unit, b, batch);
      } else {
        multiply_unit_by_groups(view, table, rows, slices, groups, unit, b, batch);
      }
    }
  });
  return true;
}

bool dense_integer_linear(const uint8_t* words, bool is_signed, int64_t matrix_rows, int64_t columns,
                          const KernelTable& table, const IntegerRows& rows, int threads) {
  constexpr int64_t kRows = 4;
  Slices<int16_t> slices{};
  if (!quantise_x(rows, table, columns, slices)) return false;
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

}  // namespace tersely
