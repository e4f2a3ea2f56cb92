// Blocks back to words: all of them, some rows, one weight. See blocks.hpp.
#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/selection/blocks/panel.hpp"

namespace tersely {
namespace {

// The blocks of a panel, listed once for all its rows.
template <class Word>
class PanelReader {
 public:
  PanelReader(const BlockView& v, const KernelTable& table, int64_t panel, uint8_t* memory)
      : v_(v), width_(block_columns(v.geometry, v.shape)), words_(reinterpret_cast<const Word*>(v.words)) {
    if (v.shape == BlockShape::kRow) {
      list_rows(v, panel, rows_);
    } else if (is_one_high(v.shape)) {
      narrow_ = expand_panel(v, table, panel, reinterpret_cast<uint16_t*>(memory));
    } else {
      list_ = list_panel(v, table, panel, memory);
    }
  }

  // Calls f(column, word) for the words of a row that have a block.
  template <class F>
  void row(int row, F&& f) const {
    const int64_t columns = v_.geometry.columns;
    if (v_.shape == BlockShape::kRow) {
      for (int64_t column = 0; rows_[row] >= 0 && column < columns; ++column)
        f(column, words_[row_word(v_, rows_[row], column)]);
    } else if (is_one_high(v_.shape)) {
      for (int64_t first = 0; first < columns; first += width_) {
        const Word* block = words_ + narrow_[first / width_ * 16 + row] * width_;
        for (int64_t c = 0; c < std::min(width_, columns - first); ++c) f(first + c, block[c]);
      }
    } else {
      for (int64_t k = 0; k < list_.count; ++k) {
        const Word* block = words_ + list_.ids[k] * width_ * 16;
        const int64_t first = list_.columns[k];
        for (int64_t c = 0; c < std::min(width_, columns - first); ++c) f(first + c, block[c * 16 + row]);
      }
    }
  }

 private:
  const BlockView& v_;
  const int64_t width_;
  const Word* words_;
  int64_t rows_[16];
  const uint16_t* narrow_ = nullptr;
  PanelBlocks list_{};
};

template <class Word>
void decode(const BlockView& v, const KernelTable& table, int64_t first_panel, int64_t last_panel,
            int64_t first_element, int64_t elements, uint8_t* out, int threads) {
  const Geometry& g = v.geometry;
  clear(out, elements * static_cast<int64_t>(sizeof(Word)), threads);
  if (v.count == 0) return;
  auto* to = reinterpret_cast<Word*>(out);
  parallel_for(threads, last_panel - first_panel, [&](int64_t index) {
    static thread_local Scratch scratch;
    const int64_t panel = first_panel + index;
    const PanelReader<Word> reader(v, table, panel, scratch.get<uint8_t>(list_bytes(v)));
    for (int row = 0; row < kPanelRows; ++row) {
      if (panel % g.panels_per_matrix * kPanelRows + row >= g.rows) break;
      const int64_t base = row_offset(g, panel, row) - first_element;
      reader.row(row, [&](int64_t column, Word word) {
        const int64_t position = base + column_offset(g, column);
        if (position >= 0 && position < elements) to[position] = word;
      });
    }
  });
}

template <class Word>
void pick(const BlockView& v, const KernelTable& table, const int64_t* wanted, int64_t count, Word* out, int threads) {
  const int64_t columns = v.geometry.columns;
  std::memset(out, 0, static_cast<size_t>(count * columns) * sizeof(Word));
  if (v.count == 0) return;
  parallel_for(threads, count, [&](int64_t i) {
    static thread_local Scratch scratch;
    const PanelReader<Word> reader(v, table, wanted[i] / 16, scratch.get<uint8_t>(list_bytes(v)));
    reader.row(static_cast<int>(wanted[i] % 16), [&](int64_t column, Word word) { out[i * columns + column] = word; });
  });
}

// The number of the block at a position of a panel, or -1.
int64_t block_at(const BlockView& v, int64_t panel, int64_t position) {
  if (v.masks == nullptr) return read_index(v, panel * indices_per_panel(v.geometry, v.shape) + position);
  const uint8_t* own = v.masks + panel * mask_words(v.geometry, v.shape) * 8;
  if ((own[position / 8] >> position % 8 & 1) == 0) return -1;
  int64_t rank = std::popcount(static_cast<uint8_t>(own[position / 8] & ((1u << position % 8) - 1)));
  for (int64_t byte = 0; byte < position / 8; ++byte) rank += std::popcount(own[byte]);
  const auto first = static_cast<int64_t>(v.directory[panel]);
  return rank < static_cast<int64_t>(v.directory[panel + 1]) - first ? first + rank : -1;
}

}  // namespace

void blocks_decode_window(const BlockView& v, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                          int64_t first_element, int64_t elements, uint8_t* out, int threads) {
  switch (word_bytes_of(v.dtype)) {
    case 4:
      return decode<uint32_t>(v, table, first_panel, last_panel, first_element, elements, out, threads);
    case 2:
      return decode<uint16_t>(v, table, first_panel, last_panel, first_element, elements, out, threads);
    default:
      decode<uint8_t>(v, table, first_panel, last_panel, first_element, elements, out, threads);
  }
}

uint32_t blocks_access(const BlockView& v, int64_t matrix, int64_t row, int64_t column) {
  if (v.count == 0) return 0;
  const Geometry& g = v.geometry;
  const int64_t panel = matrix * g.panels_per_matrix + row / kPanelRows, inside = row % kPanelRows;
  const int64_t width = block_columns(g, v.shape);
  int64_t at;
  if (v.shape == BlockShape::kRow) {
    const int64_t id = block_at(v, panel, inside);
    at = id < 0 ? -1 : row_word(v, id, column);
  } else if (is_one_high(v.shape)) {
    at = block_at(v, panel, column / width * 16 + inside) * width + column % width;
  } else {
    const int64_t id = block_at(v, panel, column / width);
    at = id < 0 ? -1 : (id * width + column % width) * 16 + inside;
  }
  if (at < 0) return 0;
  const int word_bytes = kFields[static_cast<int>(v.dtype)].word_bytes;
  uint32_t word = 0;
  std::memcpy(&word, v.words + at * word_bytes, static_cast<size_t>(word_bytes));
  return word;
}

int64_t blocks_pick_rows(const BlockView& v, const KernelTable& table, const int64_t* wanted, int64_t count,
                         uint8_t* out, int threads) {
  for (int64_t i = 0; i < count; ++i)
    if (wanted[i] < 0 || wanted[i] >= v.geometry.rows) return i;
  switch (word_bytes_of(v.dtype)) {
    case 4:
      pick(v, table, wanted, count, reinterpret_cast<uint32_t*>(out), threads);
      break;
    case 2:
      pick(v, table, wanted, count, reinterpret_cast<uint16_t*>(out), threads);
      break;
    default:
      pick(v, table, wanted, count, out, threads);
  }
  return -1;
}

}  // namespace tersely
