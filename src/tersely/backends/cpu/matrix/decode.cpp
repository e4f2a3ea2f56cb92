// Decoding to memory: a block of chunks to words in vector order, in cache, then to the rows of the tensor.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/stream.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {
namespace {

constexpr int64_t kBlockChunks = 64;  // 256 columns: 16 KiB of float32, half of the smallest first-level cache
constexpr int64_t kBlockColumns = kBlockChunks * kChunkColumns;

struct Window {
  int64_t first, last;  // element positions
  uint8_t* out;
  bool streamed;
};

// Copies the part of elements [position, position + count) that lies in the window.
void copy_run(const Window& window, int64_t position, int64_t count, const uint8_t* from, int word_bytes) {
  const int64_t first = std::max(position, window.first), last = std::min(position + count, window.last);
  if (first < last)
    std::memcpy(window.out + (first - window.first) * word_bytes, from + (first - position) * word_bytes,
                static_cast<size_t>((last - first) * word_bytes));
}

// Rows of words to their places among columns that do not lie side by side; all of them lie in the window.
template <class Word>
void scatter(const Geometry& g, int64_t panel, int64_t rows, int64_t first_column, int64_t columns, const uint8_t* from,
             const Window& window) {
  const auto* in = reinterpret_cast<const Word*>(from);
  auto* out = reinterpret_cast<Word*>(window.out) + (row_offset(g, panel, 0) - window.first);
  if (g.row_stride == 1) {
    for (int64_t column = 0; column < columns; ++column) {
      Word* to = out + column_offset(g, first_column + column);
      for (int64_t row = 0; row < rows; ++row) to[row] = in[row * kBlockColumns + column];
    }
    return;
  }
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      out[row * g.row_stride + column_offset(g, first_column + column)] = in[row * kBlockColumns + column];
}

void store_block(const MatrixView& view, const KernelTable& table, int64_t panel, int64_t first_column, int64_t columns,
                 const void* words, uint8_t* rows_scratch, const Window& window) {
  const Geometry& g = view.geometry;
  const DType dtype = view.dtype;
  const auto word_bytes = static_cast<int>(word_bytes_of(dtype));
  const int64_t rows = std::min(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows);
  const int64_t base = row_offset(g, panel, 0) + column_offset(g, first_column);
  const bool contiguous = g.column_offsets == nullptr && g.column_stride == 1;
  const int64_t end = base + (rows - 1) * g.row_stride + columns;
  if (contiguous && base >= window.first && end <= std::min(window.last, g.elements)) {
    uint8_t* out = window.out + (base - window.first) * word_bytes;
    const int64_t stride = g.row_stride * word_bytes;
    if (!window.streamed) return table.store_rows(dtype, words, rows, columns, out, stride);
    table.store_rows(dtype, words, rows, columns, rows_scratch, kBlockColumns * word_bytes);
    for (int64_t row = 0; row < rows; ++row)
      stream_copy(out + row * stride, rows_scratch + row * kBlockColumns * word_bytes, columns * word_bytes);
    return;
  }
  table.store_rows(dtype, words, rows, columns, rows_scratch, kBlockColumns * word_bytes);
  if (contiguous) {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t position = row_offset(g, panel, static_cast<int>(row)) + first_column;
      copy_run(window, position, std::min(columns, g.elements - position),
               rows_scratch + row * kBlockColumns * word_bytes, word_bytes);
    }
    return;
  }
  const int64_t first = row_offset(g, panel, 0);
  const int64_t span = g.column_offsets != nullptr ? g.columns : column_offset(g, g.columns - 1) + 1;
  if (first >= window.first && first + (rows - 1) * g.row_stride + span <= window.last) {
    if (word_bytes == 4) return scatter<uint32_t>(g, panel, rows, first_column, columns, rows_scratch, window);
    if (word_bytes == 2) return scatter<uint16_t>(g, panel, rows, first_column, columns, rows_scratch, window);
    return scatter<uint8_t>(g, panel, rows, first_column, columns, rows_scratch, window);
  }
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t offset = column_offset(g, first_column + column);
    for (int64_t row = 0; row < rows; ++row)
      copy_run(window, row_offset(g, panel, static_cast<int>(row)) + offset, 1,
               rows_scratch + (row * kBlockColumns + column) * word_bytes, word_bytes);
  }
}

// Words in vector order at their distance from the centre.
void unfold(const MatrixView& view, const KernelTable& table, const uint8_t* folded, int64_t count, uint8_t* out) {
  const uint16_t centre = view.folding->centre;
  if (word_bytes_of(view.dtype) == 1) return table.unfold.bytes(folded, count, static_cast<uint8_t>(centre), out);
  auto* words = reinterpret_cast<uint16_t*>(out);
  if (word_bytes_of(view.source.parameters().dtype) == 1) return table.unfold.widen(folded, count, centre, words);
  table.unfold.words(reinterpret_cast<const uint16_t*>(folded), count, centre, words);
}

// Walks those of a unit's panels that are wanted, where these are some and a walk can begin at the first of them.
template <class F>
bool walk_panels(const MatrixView& view, const KernelTable& table, const UnitPanels& unit, const UnitPanels& wanted,
                 uint8_t* scratch, F&& f) {
  const int64_t first = std::max(unit.first, wanted.first), last = std::min(unit.last, wanted.last);
  if (last - first == unit.last - unit.first || view.source.step() != 0) return false;
  Cursor cursor{nullptr, nullptr, nullptr};
  if (!view.source.begin_panel(table, first, scratch, cursor)) return false;
  const auto& kernels = view.source.kernels(table);
  for (int64_t panel = first; panel < last; ++panel)
    f(panel, 0, view.geometry.chunks_per_panel, kernels[static_cast<int>(view.source.tail(panel))], cursor);
  return true;
}

}  // namespace

void decode_window(const MatrixView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                   int64_t first_element, int64_t elements, uint8_t* out, int threads) {
  const Geometry& g = view.geometry;
  if (first_panel >= last_panel || g.units == 0) return;
  const int64_t bytes = elements * word_bytes_of(view.dtype);
  const Window window{first_element, first_element + elements, out, bytes >= kStreamBytes};
  const int64_t first_unit = unit_of_panel(g, first_panel), last_unit = unit_of_panel(g, last_panel - 1) + 1;
  parallel_for(threads, last_unit - first_unit, [&](int64_t index) {
    static thread_local Scratch scratch;
    constexpr int64_t kWordsBytes = kBlockChunks * kChunkWeights * 4;
    auto* memory = scratch.get<uint8_t>(kExpandScratchBytes + 2 * kWordsBytes + 128);
    uint8_t* words = memory + (kExpandScratchBytes + 63) / 64 * 64;
    // Folded words have at most two bytes: half of the room for four holds them, the other what they become.
    uint8_t* decoded = view.folding == nullptr ? words : words + kWordsBytes / 2;
    const auto store = [&](int64_t panel, int64_t first_chunk, int64_t chunks, const CodeKernels& kernels,
                           Cursor& cursor) {
      for (int64_t done = 0; done < chunks; done += kBlockChunks) {
        const int64_t block = std::min(kBlockChunks, chunks - done);
        kernels.decode_words(view.source.parameters(), cursor, block, decoded);
        if (panel < first_panel || panel >= last_panel) continue;
        if (decoded != words) unfold(view, table, decoded, block * kChunkWeights, words);
        const int64_t column = (first_chunk + done) * kChunkColumns;
        store_block(view, table, panel, column, std::min(block * kChunkColumns, g.columns - column), words,
                    words + kWordsBytes, window);
      }
    };
    if (!walk_panels(view, table, unit_panels(g, first_unit + index), {first_panel, last_panel}, memory, store))
      walk_unit(view, table, first_unit + index, memory, store);
    if (window.streamed) finish_stream();
  });
}

uint32_t access(const MatrixView& view, const KernelTable& table, int64_t matrix, int64_t row, int64_t column) {
  const uint32_t word = view.source.access(table, matrix, row, column);
  if (view.folding == nullptr) return word;
  // The word at the distance that a folded one has from the centre.
  const int64_t bits = word_bytes_of(view.source.parameters().dtype) * 8;
  const uint32_t sizes = (1u << (bits - 1)) - 1, size = word & sizes;
  const uint32_t distance = (word >> (bits - 1)) != 0 ? ~size : size;
  return (distance + view.folding->centre) & ((1u << word_bytes_of(view.dtype) * 8) - 1);
}

}  // namespace tersely
