// Products of blocks of 8-bit integers with integers (slices.hpp). The blocks of a panel that are there follow each
// other, 16 rows a column, as kernels of chunks take them: chunks by a list of where they begin in x, columns with what
// x has for them brought together. Blocks that are not there cost nothing. Whole rows are a matrix of their own. Sums
// are exact, so the bits of y are those that dense weights give.
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/codes/selection/blocks/panel.hpp"
#include "tersely/codes/words/integer/slices.hpp"

namespace tersely {
namespace {

constexpr int64_t kBatchBlock = 8;  // batch rows whose columns are brought together at a time
constexpr int64_t kLevels = 128;    // kernels take -128 of int8 as 0

int64_t kept_words(const BlockView& v) {
  return v.count * (v.shape == BlockShape::kRow ? 1 : kPanelRows) * block_columns(v.geometry, v.shape);
}

// Where the blocks of a panel begin in x: `list_panel` without the numbers of blocks, which follow each other here.
// Valid until the thread asks for the next ones.
struct Columns {
  int64_t count;
  const uint32_t* first;
};

Columns list_columns(const BlockView& v, int64_t panel) {
  static thread_local Scratch scratch;
  const int64_t words = mask_words(v.geometry, v.shape), places = positions_per_panel(v.geometry, v.shape);
  const auto width = static_cast<uint32_t>(block_columns(v.geometry, v.shape));
  auto* first = scratch.get<uint32_t>(words * 64 * 4);
  uint32_t* next = first;
  for (int64_t w = 0; w < words; ++w) {
    uint64_t mask;
    std::memcpy(&mask, v.masks + (panel * words + w) * 8, 8);
    if (places < w * 64 + 64) mask &= (uint64_t{1} << (places - w * 64)) - 1;
    for (; mask != 0; mask &= mask - 1)
      *next++ = (static_cast<uint32_t>(w) * 64 + static_cast<uint32_t>(std::countr_zero(mask))) * width;
  }
  // SAFE BECAUSE: `validate` has counted the bits against the directory; the bound is for what came after.
  return {std::min<int64_t>(next - first, static_cast<int64_t>(v.directory[panel + 1] - v.directory[panel])), first};
}

template <class Slice>
class BlockProduct {
 public:
  BlockProduct(const BlockView& view, const IntegerRows& rows, bool is_signed, MultiplyFolded<Slice> kernel,
               const Slices<Slice>& slices)
      : view_(view), rows_(rows), is_signed_(is_signed), kernel_(kernel), slices_(slices) {}

  void run(int threads) const {
    if (view_.shape == BlockShape::kRow) return run_rows(threads);
    const int32_t* own_sums = block_sums();
    parallel_for(threads, view_.geometry.panels, [this, own_sums](int64_t panel) {
      const Columns blocks = list_columns(view_, panel);
      const int64_t width = block_columns(view_.geometry, view_.shape);
      const int64_t columns = blocks.count * width, first_row = panel * kPanelRows;
      const uint8_t* words = view_.words + static_cast<int64_t>(view_.directory[panel]) * width * kPanelRows;
      const bool every = blocks.count == positions_per_panel(view_.geometry, view_.shape);
      for (int64_t first = 0; first < rows_.batch; first += kBatchBlock) {
        const int64_t batch = std::min(kBatchBlock, rows_.batch - first);
        int64_t totals[kBatchBlock * 3 * kPanelRows];
        if (every) {
          multiply(words, columns, in_place(first, batch), slices_.sums + first, totals);
        } else {
          int64_t sums[kBatchBlock] = {};
          if (is_signed_) add_sums(blocks, own_sums, first, batch, sums);
          SlicedRows<Slice> x = width == 1 ? together(blocks, first, batch) : in_place(first, batch);
          if (width != 1) x.columns = blocks.first;
          multiply(words, columns, x, sums, totals);
        }
        for (int64_t b = 0; b < batch; ++b)
          finish(rows_, slices_, view_.geometry.rows, first + b, first_row,
                 std::min(kPanelRows, view_.geometry.rows - first_row), 0, totals + b * slices_.count * kPanelRows);
      }
    });
  }

 private:
  // Columns as they are.
  SlicedRows<Slice> in_place(int64_t first, int64_t batch) const {
    return {slices_.row(first), slices_.count * slices_.width, slices_.width, slices_.count, static_cast<int>(batch)};
  }

  // [batch][blocks of a panel]: sums of the integers of x that each block meets; below 2^25, one by one below 2^23.
  const int32_t* block_sums() const {
    static thread_local Scratch scratch;
    const int64_t across = positions_per_panel(view_.geometry, view_.shape);
    const int64_t width = block_columns(view_.geometry, view_.shape);
    auto* sums = scratch.get<int32_t>(rows_.batch * across * 4);
    for (int64_t b = 0; b < rows_.batch && is_signed_; ++b) {
      const int32_t* integers = slices_.integers_of(b);
      for (int64_t k = 0; k < across; ++k) {
        int32_t sum = 0;
        for (int64_t c = 0; c < width; ++c) sum += integers[k * width + c];
        sums[b * across + k] = sum;
      }
    }
    return sums;
  }

  void add_sums(const Columns& blocks, const int32_t* own_sums, int64_t first, int64_t batch, int64_t* sums) const {
    const int64_t across = positions_per_panel(view_.geometry, view_.shape);
    const int shift = view_.shape == BlockShape::kChunk ? 2 : 0;
    for (int64_t b = 0; b < batch; ++b) {
      const int32_t* own = own_sums + (first + b) * across;
      for (int64_t k = 0; k < blocks.count; ++k) sums[b] += own[blocks.first[k] >> shift];
    }
  }

  // Listed columns side by side, zeros up to a whole chunk.
  SlicedRows<Slice> together(const Columns& blocks, int64_t first, int64_t batch) const {
    static thread_local Scratch scratch;
    const int64_t count = blocks.count, width = ceil_div(count, kChunkColumns) * kChunkColumns;
    auto* x = scratch.get<Slice>((batch * slices_.count * width + 1) * static_cast<int64_t>(sizeof(Slice)));
    Slice* to = x;
    for (int64_t b = first; b < first + batch; ++b)
      for (int s = 0; s < slices_.count; ++s, to += width) {
        const Slice* from = slices_.row(b) + s * slices_.width;
        for (int64_t k = 0; k < count; ++k) to[k] = from[blocks.first[k]];
        std::fill(to + count, to + width, Slice{0});
      }
    return {x, slices_.count * width, width, slices_.count, static_cast<int>(batch)};
  }

  // totals [batch][slices][16] of weights as they are: 16 rows of so many columns, by columns. x_sums: of the integers
  // of x by batch row. The last chunk may reach into what follows the words: x is zero there.
  void multiply(const uint8_t* words, int64_t columns, SlicedRows<Slice> x, const int64_t* x_sums,
                int64_t* totals) const {
    const int64_t count = x.rows * x.slices * kPanelRows;
    std::memset(totals, 0, static_cast<size_t>(count) * 8);
    for (int64_t done = 0; done < columns; done += kSegmentColumns) {
      int32_t sums[kBatchBlock * 3 * kPanelRows] = {};
      const int64_t chunks = ceil_div(std::min(kSegmentColumns, columns - done), kChunkColumns);
      kernel_(words + done * kPanelRows, chunks, is_signed_ ? kLevels : 0, x, sums);
      for (int64_t i = 0; i < count; ++i) totals[i] += sums[i];
      if (x.columns == nullptr) {
        x.x += kSegmentColumns;
      } else {
        x.columns += kSegmentColumns / kChunkColumns;
      }
    }
    // The lowest slice takes what every weight is too large by.
    for (int64_t b = 0; b < x.rows && is_signed_; ++b)
      for (int64_t row = 0; row < kPanelRows; ++row) totals[b * x.slices * kPanelRows + row] -= kLevels * x_sums[b];
  }

  // Kept rows lie 16 side by side; each has one row of the weight, and rows without one have what their zero points
  // make of x.
  void run_rows(int threads) const {
    static thread_local Scratch scratch;
    const Geometry& g = view_.geometry;
    auto* row_of = scratch.get<int64_t>((view_.count + 1) * 8);
    const int64_t none[3 * kPanelRows] = {};
    std::fill_n(row_of, view_.count, -1);  // only masks that do not fit the directory leave one
    for (int64_t panel = 0; panel < g.panels; ++panel) {
      int64_t ids[kPanelRows];
      list_rows(view_, panel, ids);
      for (int64_t i = 0; i < std::min(kPanelRows, g.rows - panel * kPanelRows); ++i) {
        const int64_t row = panel * kPanelRows + i;
        if (ids[i] >= 0) row_of[ids[i]] = row;
        for (int64_t b = 0; b < rows_.batch && ids[i] < 0; ++b) finish(rows_, slices_, g.rows, b, row, 1, 0, none);
      }
    }
    const int64_t columns = block_columns(g, view_.shape);
    parallel_for(threads, ceil_div(view_.count, kPanelRows), [this, &g, row_of, columns](int64_t panel) {
      for (int64_t first = 0; first < rows_.batch; first += kBatchBlock) {
        const int64_t batch = std::min(kBatchBlock, rows_.batch - first);
        int64_t totals[kBatchBlock * 3 * kPanelRows];
        multiply(view_.words + panel * kPanelRows * columns, columns, in_place(first, batch), slices_.sums + first,
                 totals);
        for (int64_t i = 0; i < std::min(kPanelRows, view_.count - panel * kPanelRows); ++i)
          for (int64_t b = 0; b < batch; ++b)
            if (const int64_t row = row_of[panel * kPanelRows + i]; row >= 0)
              finish(rows_, slices_, g.rows, first + b, row, 1, 0, totals + b * slices_.count * kPanelRows + i);
      }
    });
  }

  const BlockView& view_;
  const IntegerRows& rows_;
  const bool is_signed_;
  const MultiplyFolded<Slice> kernel_;
  const Slices<Slice>& slices_;
};

template <class Slice>
bool multiply(const BlockView& view, bool is_signed, const KernelTable& table, const IntegerRows& rows, int threads,
              MultiplyFolded<Slice> kernel) {
  Slices<Slice> slices{};
  if (!quantise_x(rows, table, view.geometry.columns, slices)) return false;
  BlockProduct<Slice>(view, rows, is_signed, kernel, slices)
      .run(workers_worth_waking(threads, integer_product_ns(kept_words(view), rows.batch)));
  return true;
}

}  // namespace

bool blocks_integer_linear(const BlockView& view, bool is_signed, const KernelTable& table, const IntegerRows& rows,
                           int threads) {
  if (table.multiply_shifted_bytes != nullptr)
    return multiply(view, is_signed, table, rows, threads, table.multiply_shifted_bytes);
  return multiply(view, is_signed, table, rows, threads, table.multiply_shifted_words);
}

}  // namespace tersely
