// Cutting a tensor into blocks: which are alike, which are empty. See blocks.hpp.
#include <bit>
#include <cstring>
#include <vector>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/codes/selection/blocks/blocks.hpp"

namespace tersely {
namespace {

uint64_t hash_of(const void* bytes, size_t size) {
  const auto* at = static_cast<const uint8_t*>(bytes);
  uint64_t hash = size;
  for (size_t i = 0; i < size; i += 8) {
    uint64_t word;
    std::memcpy(&word, at + i, 8);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return hash;
}

// Numbers of distinct blocks of one size, in the order in which they came.
class Dictionary {
 public:
  Dictionary(size_t block_bytes, int64_t limit, uint8_t* table)
      : block_bytes_(block_bytes), limit_(limit), table_(table), slots_(1024) {}

  // The number of a block, or -1 where it would be one too many.
  int64_t number(const void* block) {
    const uint64_t hash = hash_of(block, block_bytes_);
    for (size_t at = hash % slots_.size();; at = (at + 1) % slots_.size()) {
      if (slots_[at] == 0) {
        if (count_ == limit_) return -1;
        std::memcpy(table_ + static_cast<size_t>(count_) * block_bytes_, block, block_bytes_);
        slots_[at] = static_cast<uint32_t>(++count_);
        if (static_cast<size_t>(count_) * 2 > slots_.size()) grow();
        return count_ - 1;
      }
      const uint32_t found = slots_[at] - 1;
      if (std::memcmp(table_ + found * block_bytes_, block, block_bytes_) == 0) return found;
    }
  }

  int64_t count() const { return count_; }

 private:
  void grow() {
    slots_.assign(slots_.size() * 4, 0);
    for (int64_t k = 0; k < count_; ++k) {
      size_t at = hash_of(table_ + static_cast<size_t>(k) * block_bytes_, block_bytes_) % slots_.size();
      while (slots_[at] != 0) at = (at + 1) % slots_.size();
      slots_[at] = static_cast<uint32_t>(k + 1);
    }
  }

  size_t block_bytes_;
  int64_t limit_, count_ = 0;
  uint8_t* table_;
  std::vector<uint32_t> slots_;  // number + 1; 0 is free
};

int real_rows(const Geometry& g, int64_t panel) {
  return static_cast<int>(std::min<int64_t>(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows));
}

// Calls f(first column, columns, tile[column][row]) for a panel, 32 columns at a time, zeros beyond the real ones.
template <class Word, class F>
void for_tiles(const uint8_t* words, const Geometry& g, int64_t panel, F&& f) {
  Word tile[32][16];
  for (int64_t column = 0; column < g.columns; column += 32) {
    gather_tile(words, g, panel, column, 32, tile);
    f(column, std::min<int64_t>(32, g.columns - column), tile);
  }
}

template <class Word>
int64_t find(const uint8_t* words, const Geometry& g, BlockShape shape, int64_t limit, uint32_t* ids, uint8_t* table) {
  const int64_t width = block_columns(g, shape), padded = indices_per_panel(g, shape);
  const bool one_high = is_one_high(shape);
  Dictionary dictionary(static_cast<size_t>(one_high ? width : width * 16) * sizeof(Word), limit, table);
  bool full = false;
  for (int64_t panel = 0; panel < g.panels && !full; ++panel)
    for_tiles<Word>(words, g, panel, [&](int64_t column, int64_t columns, Word(*tile)[16]) {
      for (int64_t c = 0; c < columns && !full; c += width) {
        uint32_t* to = ids + panel * padded + (column + c) / width * (one_high ? 16 : 1);
        for (int row = 0; row < (one_high ? real_rows(g, panel) : 1) && !full; ++row) {
          Word own[8];
          for (int64_t k = 0; one_high && k < width; ++k) own[k] = tile[c + k][row];
          const int64_t number = dictionary.number(one_high ? own : tile[c]);
          full = number < 0;
          to[row] = static_cast<uint32_t>(number);
        }
      }
    });
  return full ? -1 : dictionary.count();
}

template <class Word>
void masks_of(const uint8_t* words, const Geometry& g, BlockShape shape, uint8_t* masks, uint64_t* counts,
              int threads) {
  const int64_t width = block_columns(g, shape), mask_count = mask_words(g, shape);
  parallel_for(threads, g.panels, [&](int64_t panel) {
    uint8_t* own = masks + panel * mask_count * 8;
    for_tiles<Word>(words, g, panel, [&](int64_t column, int64_t columns, Word(*tile)[16]) {
      const int64_t step = shape == BlockShape::kRow ? columns : width;
      for (int64_t c = 0; c < columns; c += step) {
        Word any[16] = {}, all = 0;
        for (int64_t k = c; k < c + step; ++k)
          for (int row = 0; row < 16; ++row) any[row] |= tile[k][row];
        for (int row = 0; row < 16; ++row) {
          all |= any[row];
          if (shape == BlockShape::kRow && any[row] != 0) own[row / 8] |= static_cast<uint8_t>(1u << row % 8);
        }
        const int64_t position = shape == BlockShape::kRow ? 0 : (column + c) / width;
        if (shape != BlockShape::kRow && all != 0) own[position / 8] |= static_cast<uint8_t>(1u << position % 8);
      }
    });
    counts[panel] = 0;
    for (int64_t byte = 0; byte < mask_count * 8; ++byte) counts[panel] += std::popcount(own[byte]);
  });
}

template <class Word>
void values_of(const uint8_t* words, const Geometry& g, BlockShape shape, const uint8_t* masks,
               const uint64_t* directory, uint8_t* values, int threads) {
  const int64_t width = block_columns(g, shape), mask_count = mask_words(g, shape);
  auto* out = reinterpret_cast<Word*>(values);
  parallel_for(threads, g.panels, [&](int64_t panel) {
    const uint8_t* own = masks + panel * mask_count * 8;
    uint64_t id = directory[panel];
    for_tiles<Word>(words, g, panel, [&](int64_t column, int64_t columns, Word(*tile)[16]) {
      if (shape == BlockShape::kRow) {
        uint64_t at = directory[panel];
        for (int row = 0; row < 16; ++row) {
          if ((own[row / 8] >> row % 8 & 1) == 0) continue;
          for (int64_t c = 0; c < columns; ++c)
            out[(static_cast<int64_t>(at) / 16 * width + column + c) * 16 + static_cast<int64_t>(at) % 16] =
                tile[c][row];
          ++at;
        }
        return;
      }
      for (int64_t c = 0; c < columns; c += width) {
        const int64_t position = (column + c) / width;
        if (own[position / 8] >> position % 8 & 1)
          std::memcpy(out + static_cast<int64_t>(id++) * width * 16, tile[c],
                      static_cast<size_t>(width) * 16 * sizeof(Word));
      }
    });
  });
}

}  // namespace

int64_t blocks_find(const uint8_t* words, const Geometry& g, DType dtype, BlockShape shape, int64_t limit,
                    uint32_t* ids, uint8_t* table) {
  return word_bytes_of(dtype) == 4 ? find<uint32_t>(words, g, shape, limit, ids, table)
                                   : find<uint16_t>(words, g, shape, limit, ids, table);
}

void blocks_pack(const uint32_t* ids, int64_t count, int bits, uint8_t* out) {
  uint64_t held = 0;
  int filled = 0;
  for (int64_t i = 0; i < count; ++i) {
    held |= static_cast<uint64_t>(ids[i]) << filled;
    for (filled += bits; filled >= 8; filled -= 8, held >>= 8) *out++ = static_cast<uint8_t>(held);
  }
}

void block_masks(const uint8_t* words, const Geometry& g, DType dtype, BlockShape shape, uint8_t* masks,
                 uint64_t* counts, int threads) {
  const int64_t word_bytes = word_bytes_of(dtype);
  if (word_bytes == 1) return masks_of<uint8_t>(words, g, shape, masks, counts, threads);
  return word_bytes == 4 ? masks_of<uint32_t>(words, g, shape, masks, counts, threads)
                         : masks_of<uint16_t>(words, g, shape, masks, counts, threads);
}

void block_values(const uint8_t* words, const Geometry& g, DType dtype, BlockShape shape, const uint8_t* masks,
                  const uint64_t* directory, uint8_t* values, int threads) {
  const int64_t word_bytes = word_bytes_of(dtype);
  if (word_bytes == 1) return values_of<uint8_t>(words, g, shape, masks, directory, values, threads);
  return word_bytes == 4 ? values_of<uint32_t>(words, g, shape, masks, directory, values, threads)
                         : values_of<uint16_t>(words, g, shape, masks, directory, values, threads);
}

}  // namespace tersely
