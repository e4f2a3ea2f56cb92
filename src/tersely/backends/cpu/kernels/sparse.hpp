// What kernels of sparse products see: for each row of a matrix a list of its weights that are not zero, against many
// pixels.
//
// Pixels lie in lanes. Sums of a row and a block of pixels stay in registers; each entry of the row's list is broadcast
// and multiplied by the pixels of its column, the operand in memory of the FMA, so an entry costs as many loads as
// FMAs, and columns have to lie at whole registers in the first-level cache: they are packed.
// T. Gale, M. Zaharia, C. Young, E. Elsen, "Sparse GPU kernels for deep learning", 2020,
// doi:10.1109/SC41405.2020.00021, and E. Elsen, M. Dukhan, T. Gale, K. Simonyan, "Fast sparse ConvNets", 2020,
// doi:10.1109/CVPR42600.2020.01464, whose columns are channels of 1 x 1 convolutions.
#pragma once

#include <cstdint>

namespace tersely {

// A weight, and where the pixels of its column lie, in bytes from the first packed column on. A row's list rises in
// `at` from a block of columns to the next, and ends with kSparseEnd.
struct SparseEntry {
  float value;
  uint32_t at;
};
inline constexpr uint32_t kSparseEnd = 0xffffffff;

// Where columns lie: `step` apart, or where `at` says.
struct SparsePlaces {
  uint32_t step;
  const uint32_t* at;  // or null
};

// A block of columns of some rows.
struct SparseBlock {
  const SparseEntry* entries;
  uint32_t* next;  // [rows]: the first entry of each that is not multiplied yet, moved on
  int64_t rows;
  const float* x;       // packed columns of the block, at a 64-byte boundary
  uint32_t begin, end;  // where they would lie if all columns were packed
  float* sums;          // [rows][stride], at a 64-byte boundary
  int64_t stride;       // whole registers
  int vectors;          // registers of pixels, at most SparseKernels::vectors
  bool first;           // sums begin at zero; else with what `sums` holds
};

// Neighbouring pixels of one row of an image, in floats: where they lie in a packed column, and from the beginning of a
// channel's plane of x, y and the residual.
struct SparsePixels {
  int32_t packed, x, y, residual, count;
};

// The most pieces that registers cut such pixels into: each of 14 registers with 16 pixels of which none is another's
// neighbour.
inline constexpr int kSparsePieces = 224;

// As of ConvolutionBlock, of one output.
struct SparseFinish {
  float scale, shift, low, high;
  const float* residual;  // null: 0
};

struct SparseKernels {
  int lanes, vectors;  // floats of a register; registers of sums
  void (*multiply)(const SparseBlock& block);
  // Packs columns of `floats` numbers, whole registers, the last of them zeros where there are no pixels. Pixels rise
  // in `packed`, and leave no register out but the last ones, in no more than kSparsePieces. x_step: floats from a
  // pixel to the next. offsets: of each column from x. Up to 64 bytes behind pixels are read where x_step is not 1.
  void (*pack)(const float* x, const int32_t* offsets, int64_t columns, int64_t x_step, const SparsePixels* pixels,
               int64_t count, int64_t floats, float* to);
  void (*finish)(const float* sums, const SparseFinish& finish, const SparsePixels* pixels, int64_t count, float* y);
  // Appends the weights of 16 rows that are not zero bits to the rows' lists. weights: [columns][16]; next: [16], where
  // each list ends, moved on; limit: [16], where its room does.
  void (*list)(const float* weights, int64_t first_column, int64_t columns, SparsePlaces places, SparseEntry* entries,
               uint32_t* next, const uint32_t* limit);
  // The same of 16 lanes of gaps, with their ends. values: float32, zero bits are no entry; next: where lists begin,
  // with room for all entries and an end.
  void (*list_gaps)(const uint8_t* gaps, const uint8_t* values, int64_t blocks, int64_t last_column,
                    SparsePlaces places, SparseEntry* entries, const uint32_t* first);
};

}  // namespace tersely
