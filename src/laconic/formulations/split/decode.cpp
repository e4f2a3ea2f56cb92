// Decoding to memory: a block of chunks to words in vector order, in cache, then to the rows of the tensor.
#include <algorithm>
#include <cstring>

#include "laconic/base/parallel.hpp"
#include "laconic/formulations/split/gather.hpp"
#include "laconic/formulations/split/operators.hpp"
#include "laconic/formulations/split/scratch.hpp"
#include "laconic/formulations/split/stream.hpp"
#include "laconic/formulations/split/walk.hpp"

namespace laconic {
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

void store_block(const SplitView& view, const KernelTable& table, int64_t panel, int64_t first_column, int64_t columns,
                 const void* words, uint8_t* rows_scratch, const Window& window) {
  const Geometry& g = view.geometry;
  const int word_bytes = kFields[static_cast<int>(view.parameters.dtype)].word_bytes;
  const int64_t rows = std::min(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows);
  const int64_t base = row_offset(g, panel, 0) + column_offset(g, first_column);
  const bool contiguous = g.column_offsets == nullptr && g.column_stride == 1;
  const int64_t end = base + (rows - 1) * g.row_stride + columns;
  if (contiguous && base >= window.first && end <= std::min(window.last, g.elements)) {
    uint8_t* out = window.out + (base - window.first) * word_bytes;
    const int64_t stride = g.row_stride * word_bytes;
    if (!window.streamed) return table.store_rows(view.parameters.dtype, words, rows, columns, out, stride);
    table.store_rows(view.parameters.dtype, words, rows, columns, rows_scratch, kBlockColumns * word_bytes);
    for (int64_t row = 0; row < rows; ++row)
      stream_copy(out + row * stride, rows_scratch + row * kBlockColumns * word_bytes, columns * word_bytes);
    return;
  }
  table.store_rows(view.parameters.dtype, words, rows, columns, rows_scratch, kBlockColumns * word_bytes);
  if (contiguous) {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t position = row_offset(g, panel, static_cast<int>(row)) + first_column;
      copy_run(window, position, std::min(columns, g.elements - position),
               rows_scratch + row * kBlockColumns * word_bytes, word_bytes);
    }
    return;
  }
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t offset = column_offset(g, first_column + column);
    for (int64_t row = 0; row < rows; ++row)
      copy_run(window, row_offset(g, panel, static_cast<int>(row)) + offset, 1,
               rows_scratch + (row * kBlockColumns + column) * word_bytes, word_bytes);
  }
}

}  // namespace

void decode_window(const SplitView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                   int64_t first_element, int64_t elements, uint8_t* out, int threads) {
  const Geometry& g = view.geometry;
  if (first_panel >= last_panel || g.units == 0) return;
  const int64_t bytes = elements * kFields[static_cast<int>(view.parameters.dtype)].word_bytes;
  const Window window{first_element, first_element + elements, out, bytes >= kStreamBytes};
  const int64_t first_unit = unit_of_panel(g, first_panel), last_unit = unit_of_panel(g, last_panel - 1) + 1;
  parallel_for(threads, last_unit - first_unit, [&](int64_t index) {
    static thread_local Scratch scratch;
    constexpr int64_t kWordsBytes = kBlockChunks * kChunkWeights * 4;
    auto* memory = scratch.get<uint8_t>(kExpandScratchBytes + 2 * kWordsBytes + 128);
    uint8_t* words = memory + (kExpandScratchBytes + 63) / 64 * 64;
    walk_unit(view, table, first_unit + index, memory,
              [&](int64_t panel, int64_t first_chunk, int64_t chunks, const CodeKernels& kernels, Cursor& cursor) {
                for (int64_t done = 0; done < chunks; done += kBlockChunks) {
                  const int64_t block = std::min(kBlockChunks, chunks - done);
                  kernels.decode_words(view.parameters, cursor, block, words);
                  if (panel < first_panel || panel >= last_panel) continue;
                  const int64_t column = (first_chunk + done) * kChunkColumns;
                  store_block(view, table, panel, column, std::min(block * kChunkColumns, g.columns - column), words,
                              words + kWordsBytes, window);
                }
              });
    if (window.streamed) finish_stream();
  });
}

}  // namespace laconic
