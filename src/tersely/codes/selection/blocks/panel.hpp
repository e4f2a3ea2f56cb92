// The blocks of one panel as a list, whatever says where they are.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "tersely/codes/selection/blocks/blocks.hpp"

namespace tersely {

// Blocks by rising position: where they lie among all blocks, and their first columns.
struct PanelBlocks {
  int64_t count;
  const uint32_t* ids;
  const uint32_t* columns;
};

// Bytes of memory that listing a panel needs; kernels look a few ids ahead.
constexpr int64_t kListSlack = 16;
inline int64_t list_bytes(const BlockView& v) {
  return (indices_per_panel(v.geometry, v.shape) + kListSlack) * (4 + 4 + 2);
}

inline uint32_t read_index(const BlockView& v, int64_t at) {
  if (v.bits == 0) return 0;
  const int64_t bit = at * v.bits;
  uint32_t word;
  std::memcpy(&word, v.indices + bit / 8, 4);
  const uint32_t index = word >> (bit % 8) & ((1u << v.bits) - 1);
  return std::min(index, static_cast<uint32_t>(v.count - 1));  // only a damaged file has more
}

// Indices of a panel, none beyond the last block.
inline const uint16_t* expand_panel(const BlockView& v, const KernelTable& table, int64_t panel, uint16_t* out) {
  const int64_t n = indices_per_panel(v.geometry, v.shape);
  table.expand_indices(v.indices + panel * n / 8 * v.bits, v.bits, n, static_cast<uint16_t>(v.count - 1), out);
  return out;
}

// Calls f(position, number among all blocks) for the set bits of a panel.
template <class F>
void for_present(const BlockView& v, int64_t panel, F&& f) {
  const int64_t words = mask_words(v.geometry, v.shape);
  uint64_t id = v.directory[panel];
  for (int64_t w = 0; w < words; ++w) {
    uint64_t mask;
    std::memcpy(&mask, v.masks + (panel * words + w) * 8, 8);
    // SAFE BECAUSE: `validate` has counted the bits against the directory; the bound is for what came after.
    for (; mask != 0 && id < v.directory[panel + 1]; mask &= mask - 1) f(w * 64 + std::countr_zero(mask), id++);
  }
}

// For blocks of 16 rows. Without indices and masks every position has its own block.
inline PanelBlocks list_panel(const BlockView& v, const KernelTable& table, int64_t panel, uint8_t* memory) {
  const int64_t n = positions_per_panel(v.geometry, v.shape),
                room = indices_per_panel(v.geometry, v.shape) + kListSlack;
  const int64_t width = block_columns(v.geometry, v.shape);
  auto* ids = reinterpret_cast<uint32_t*>(memory);
  uint32_t* columns = ids + room;
  int64_t count = n;
  if (v.masks != nullptr) {
    count = 0;
    for_present(v, panel, [&](int64_t position, uint64_t id) {
      if (position >= n) return;
      columns[count] = static_cast<uint32_t>(position * width);
      ids[count++] = static_cast<uint32_t>(id);
    });
  } else if (v.indices != nullptr) {
    const uint16_t* narrow = expand_panel(v, table, panel, reinterpret_cast<uint16_t*>(columns + room));
    for (int64_t j = 0; j < n; ++j) {
      ids[j] = narrow[j];
      columns[j] = static_cast<uint32_t>(j * width);
    }
  } else {
    for (int64_t j = 0; j < n; ++j) {
      ids[j] = static_cast<uint32_t>(panel * n + j);
      columns[j] = static_cast<uint32_t>(j * width);
    }
  }
  std::memset(ids + count, 0, kListSlack * 4);
  return {count, ids, columns};
}

// For whole rows: the number of each row's block, -1 where it has none.
inline void list_rows(const BlockView& v, int64_t panel, int64_t (&ids)[16]) {
  for (int64_t row = 0; row < kPanelRows; ++row)
    ids[row] = v.masks != nullptr ? -1 : int64_t{read_index(v, panel * 16 + row)};
  if (v.masks != nullptr)
    for_present(v, panel, [&](int64_t position, uint64_t id) {
      if (position < kPanelRows) ids[position] = static_cast<int64_t>(id);
    });
}

// Where the word of (row number among the kept ones, column) lies.
inline int64_t row_word(const BlockView& v, int64_t id, int64_t column) {
  return (id / 16 * block_columns(v.geometry, v.shape) + column) * 16 + id % 16;
}

}  // namespace tersely
