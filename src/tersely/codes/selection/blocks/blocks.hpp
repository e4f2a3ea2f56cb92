// Block-wise: a panel is a list of blocks of words. Either every position of the panel has an index into a dictionary
// (`blocks`), or a bit says whether a position has a block, and the blocks follow each other (`block_sparse`).
//
// Blocks of 16 rows hold their words column by column, blocks of one row in order. Whole rows lie 16 side by side:
// [groups of 16][columns, padded to chunks][16].
#pragma once

#include <string>

#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/backends/cpu/matrix/integer_rows.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"

namespace tersely {

enum class BlockShape : uint8_t { kRow, k1x4, k1x8, k16x1, kChunk };
constexpr int64_t kBlockColumns[5] = {0, 4, 8, 1, 4};

struct BlockView {
  Geometry geometry;
  DType dtype;
  BlockShape shape;
  int64_t count;              // blocks that there are
  const uint8_t* words;       // theirs
  const uint8_t* indices;     // of all positions, packed; or null
  int bits;                   // of an index
  const uint8_t* masks;       // a bit for each position of a panel, whole 64-bit words; or null
  const uint64_t* directory;  // [panels + 1]: blocks before each panel; or null
};

// By the name that descriptions have. Throws std::invalid_argument.
BlockShape block_shape(const std::string& name);

inline bool is_one_high(BlockShape shape) { return shape == BlockShape::k1x4 || shape == BlockShape::k1x8; }
inline int64_t block_columns(const Geometry& g, BlockShape shape) {
  return shape == BlockShape::kRow ? g.chunks_per_panel * kChunkColumns : kBlockColumns[static_cast<int>(shape)];
}
// Positions of a panel that have a bit or an index; indices are padded to whole groups of eight.
inline int64_t positions_per_panel(const Geometry& g, BlockShape shape) {
  if (shape == BlockShape::kRow) return kPanelRows;
  const int64_t across = ceil_div(g.columns, block_columns(g, shape));
  return is_one_high(shape) ? across * kPanelRows : across;
}
inline int64_t indices_per_panel(const Geometry& g, BlockShape shape) {
  return ceil_div(positions_per_panel(g, shape), 8) * 8;
}
inline int64_t mask_words(const Geometry& g, BlockShape shape) { return ceil_div(positions_per_panel(g, shape), 64); }

// Distinct blocks of a tensor, by first occurrence, to `table` (room for `limit` of them), and the index of every
// position, [panels][indices_per_panel], to ids, which is zeroed. Returns how many, or -1 where there are more. Not
// rows.
int64_t blocks_find(const uint8_t* words, const Geometry& g, DType dtype, BlockShape shape, int64_t limit,
                    uint32_t* ids, uint8_t* table);
// Indices of `bits` bits, eight in as many bytes, the first lowest; count is a multiple of 8.
void blocks_pack(const uint32_t* ids, int64_t count, int bits, uint8_t* out);

// Masks of the positions whose words are not all zero bits (zeroed before), and how many each panel has.
void block_masks(const uint8_t* words, const Geometry& g, DType dtype, BlockShape shape, uint8_t* masks,
                 uint64_t* counts, int threads);
// The words of the blocks under the masks, zeroed before.
void block_values(const uint8_t* words, const Geometry& g, DType dtype, BlockShape shape, const uint8_t* masks,
                  const uint64_t* directory, uint8_t* values, int threads);

// The operators of split (operators.hpp).
void blocks_decode_window(const BlockView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                          int64_t first_element, int64_t elements, uint8_t* out, int threads);
uint32_t blocks_access(const BlockView& view, int64_t matrix, int64_t row, int64_t column);
int64_t blocks_pick_rows(const BlockView& view, const KernelTable& table, const int64_t* wanted, int64_t count,
                         uint8_t* out, int threads);
void blocks_linear(const BlockView& view, const KernelTable& table, const Rows& rows, int threads);
void blocks_linear_transposed(const BlockView& view, const KernelTable& table, const Rows& rows, int threads);
// Of integers of 8 bits under masks, one matrix. False, with nothing written, where x holds an infinity or a NaN.
bool blocks_integer_linear(const BlockView& view, bool is_signed, const KernelTable& table, const IntegerRows& rows,
                           int threads);

}  // namespace tersely
