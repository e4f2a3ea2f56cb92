// Rows of x in the shapes that kernels read, and rows of y out of them.
#pragma once

#include "tersely/backends/cpu/matrix/operators.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"

namespace tersely {

// Batch rows by blocks of `block`, the last one of `last`.
struct Batching {
  int block, last;
  int64_t blocks;
  int of(int64_t item) const { return item + 1 == blocks ? last : block; }
  int64_t rows() const { return (blocks - 1) * block + last; }
};
inline Batching whole_blocks(int64_t batch, int block) { return {block, block, (batch + block - 1) / block}; }

// x as float32 [block][width], zeros beyond its columns and rows; x itself where it already is that.
const float* padded_floats(const KernelTable& table, const Rows& rows, int64_t columns, int64_t width, int64_t block,
                           Scratch& scratch);
// x as float32 [blocks][width][rows of the block], zeros beyond its columns and rows.
const uint32_t* packed_floats(const KernelTable& table, const Rows& rows, int64_t columns, int64_t width,
                              Batching batching, int threads, Scratch& scratch);
// bfloat16 x as [blocks][width / 2][rows of the block] of two neighbouring columns a dword, zeros likewise.
const uint32_t* packed_pairs(const Rows& rows, int64_t columns, int64_t width, Batching batching, int threads,
                             Scratch& scratch);
// bfloat16 x as [batch / block][tiles of 32 columns][block][32], zeros beyond its columns and rows.
const uint16_t* packed_tiles(const Rows& rows, int64_t columns, int block, int threads, Scratch& scratch);

// Writes what becomes of sums[b][16] (operand.hpp) as places [first, first + count) of every batch row of y.
void finish_rows(const Rows& rows, int64_t first, int64_t count, const float* sums);
// The same for `count` sums at `first` of batch row b.
void finish_row(const Rows& rows, int64_t b, int64_t first, int64_t count, const float* sums);

}  // namespace tersely
