// The table of kernels of one instruction set: the only thing the rest of the core knows of it.
//
// Kernel rules: no allocation, no I/O, nothing reported; inputs are checked; what payload could push out of bounds is
// clamped; a call may read kSlackBytes past the last used byte of a stream. Entries that an instruction set does not
// speed up are taken over from the one it falls back to.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tersely/backends/cpu/kernels/activations.hpp"
#include "tersely/backends/cpu/kernels/ans.hpp"
#include "tersely/backends/cpu/kernels/convolution.hpp"
#include "tersely/backends/cpu/kernels/depthwise.hpp"
#include "tersely/backends/cpu/kernels/layout.hpp"
#include "tersely/backends/cpu/kernels/pairs.hpp"
#include "tersely/backends/cpu/kernels/pixels.hpp"
#include "tersely/backends/cpu/kernels/pool.hpp"
#include "tersely/backends/cpu/kernels/quantised.hpp"
#include "tersely/backends/cpu/kernels/row_fields_layout.hpp"
#include "tersely/backends/cpu/kernels/sparse.hpp"
#include "tersely/backends/cpu/kernels/tokens.hpp"
#include "tersely/backends/cpu/kernels/winograd.hpp"

namespace tersely {

// Decodes the levels below the tiles of one segment into `scratch` (2 x kLevelScratchBytes) and points the cursor at
// the symbols that the tiles' survivors take.
constexpr int64_t kLevelScratchBytes = kSegmentWeights + 128;
using ExpandLevels = void (*)(const SplitStreams& view, int64_t segment, uint8_t* scratch, Cursor& cursor);

// Decodes `chunks` chunks of one panel and segment to words in vector order; advances the cursor.
using DecodeWords = void (*)(const Parameters& parameters, Cursor& cursor, int64_t chunks, void* out);
// The same as float32, column by column: out[chunk * 64 + column * 16 + row].
using DecodeFloats = void (*)(const Parameters& parameters, Cursor& cursor, int64_t chunks, float* out);
// The same of two panels, whose columns are multiplied by a few pixels meanwhile. cursors: [2]; out: one panel after
// the other, out_stride floats apart.
using DecodeMultiply = void (*)(const Parameters& parameters, Cursor* cursors, int64_t chunks, float* out,
                                int64_t out_stride, const EarlyPixels& pixels);
// sums[b * 16 + row] += chunks of the panel x columns of x[b * x_stride ...], B batch rows in registers.
using Product = void (*)(const Parameters& parameters, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride,
                         float* sums);

// The same for 8 batch rows with x packed, column by column: x[column * 8 + b].
using ProductPacked = void (*)(const Parameters& parameters, Cursor& cursor, int64_t chunks, const float* x,
                               float* sums);
// The same for 4, 8 or 16 batch rows of bfloat16, two columns a dword: x[pair * rows + b].
using ProductPairs = void (*)(const Parameters& parameters, Cursor& cursor, int64_t chunks, const uint32_t* x,
                              float* sums);
// The same in the tiles of a matrix unit: up to 16 batch rows of bfloat16, x[tile of 32 columns][batch rows][32], zeros
// beyond its columns.
using ProductTiles = void (*)(const Parameters& parameters, Cursor& cursor, int64_t chunks, const uint16_t* x, int rows,
                              float* sums);

// Products that are null: decode, then multiply.
struct CodeKernels {
  DecodeWords decode_words;
  DecodeFloats decode_floats;
  Product product[3];  // 1, 2 and 4 batch rows
  ProductPacked product_packed;
  ProductPairs product_pairs[3];  // 4, 8 and 16 batch rows; bfloat16 weights only
  ProductTiles product_tiles;     // bfloat16 weights only
  DecodeMultiply decode_multiply;
};

// Entries of 16 rows side by side: gaps [blocks][4][16] and words [blocks][4][16]. Columns are sums of gaps, clamped to
// the last one; a word of zero bits is a filler and takes no part. Numbers, signed bytes in place of words, are
// multiplied by their lane's scale and rounded to a word; float32 after they are summed, which is as exact.
struct GapEntries {
  const uint8_t* gaps;
  const uint8_t* values;
  int64_t blocks, last_column;
  const float* scales;  // [16], of numbers
};
// sums[b * 16 + lane] = entries of a lane x their columns of x[b * x_stride ...].
using GapProduct = void (*)(const GapEntries& entries, const float* x, int64_t x_stride, float* sums);
// sums[lane * 16 + b] for 16 batch rows, x packed: x[column * 16 + b], and a column of zeros behind the last one.
using GapProductPacked = void (*)(const GapEntries& entries, const float* x, float* sums);
struct GapKernels {
  GapProduct product[3];            // 1, 2 and 4 batch rows
  GapProductPacked product_packed;  // null for numbers of 16 bits, which are cheaper as words
};
// words [blocks][4][16] = numbers x scales[column >> shift][lane].
using ScaleGaps = void (*)(const GapEntries& numbers, int shift, void* words);
inline constexpr int kOneScale = 31;  // the shift where a lane has one

// Entries that are integers, signed or not, x of pairs of slices: the slice of at most 12 bits that is the lower
// one in the low half of x[b * x_stride + column], the other above it; 8 batch rows are packed, x[column * 8 + b].
// totals[(b * 2 + slice) * 16 + lane] = entries of a lane x their columns, exact; batch 1, 2 or 8. Fillers are zeros as
// any other.
using MultiplyGaps = void (*)(const GapEntries& entries, bool is_signed, const uint32_t* x, int64_t x_stride, int batch,
                              int64_t* totals);
// Blocks of four steps whose sums fit 32 bits.
inline constexpr int64_t kExactGapBlocks = 512;

// Indices of `bits` bits (0 to 16), eight in as many bytes, none over `last`; count is a multiple of 8.
using ExpandIndices = void (*)(const uint8_t* packed, int bits, int64_t count, uint16_t last, uint16_t* out);
// sums[b * 16 + row] += blocks of 16 rows, words column by column, x their columns of x[b * x_stride ...]. ids: which
// blocks; columns: the first ones of x.
using BlockProduct = void (*)(const uint8_t* words, const uint32_t* ids, const uint32_t* columns, int64_t count,
                              const float* x, int64_t x_stride, float* sums);
struct BlockKernels {
  BlockProduct product[2][3];  // of 1 and 4 columns; 1, 2 and 4 batch rows
};
// sums[row] += blocks of one row of 4 or 8 floats x x; ids [across][16 rows].
using RowBlockProduct = void (*)(const float* blocks, const uint16_t* ids, int64_t across, const float* x, float* sums);

// Words in vector order of one panel to rows: out + row * row_stride (in bytes), rows < `rows`, columns < `columns`.
using StoreRows = void (*)(DType dtype, const void* words, int64_t rows, int64_t columns, uint8_t* out,
                           int64_t row_stride_bytes);

// y[panel][batch b][16 rows] += w[panel][column][16] * x[column][batch_block]; panels 1 or 2, batch_block 4, 8 or 12.
using MultiplyFloats = void (*)(const float* w, int64_t panel_stride, int panels, const float* x, int64_t columns,
                                int batch_block, float* y, int64_t y_panel_stride);
// The same for column pairs: w in bfloat16 vector order, x[pair][batch_block] two bfloat16 a dword.
using MultiplyPairs = void (*)(const uint16_t* w, int64_t panel_stride, int panels, const uint32_t* x, int64_t pairs,
                               int batch_block, float* y, int64_t y_panel_stride);
// The same for tiles of 8 chunks: w in bfloat16 vector order, whole tiles; x as in ProductTiles, one or two blocks of
// `rows` batch rows.
using MultiplyTiles = void (*)(const uint16_t* w, int64_t panel_stride, int panels, const uint16_t* x,
                               int64_t x_block_stride, int blocks, int rows, int64_t tiles, float* y,
                               int64_t y_panel_stride);
// Each worker calls the first on entry to a parallel region that multiplies tiles of `rows` batch rows, and the second
// before it leaves: threads are borrowed, and other libraries configure tiles on them too.
using EnterTiles = void (*)(int rows);
using LeaveTiles = void (*)();
// y[b * y_stride + column] += sum over 16 rows of x[b * 16 + row] * w[row * w_stride + column]; b < batch.
using MultiplyRows = void (*)(const float* w, int64_t w_stride, const float* x, int64_t batch, int64_t columns,
                              float* y, int64_t y_stride);
// Words of a dtype, in any order, to float32.
using WidenWords = void (*)(DType dtype, const void* words, int64_t count, float* out);
// Dense weights in vector order times one batch row: the benchmark's own dense kernel, same layout, no code.
using DenseProduct = void (*)(DType dtype, const void* words, int64_t chunks, const float* x, float* sums);

// Set bits of `count` 64-bit words.
using CountBits = int64_t (*)(const uint8_t* words, int64_t count);

// A tile split into pieces, each in chunk order; pieces that a dtype does not have are left as they are.
struct SplitTile {
  alignas(64) uint8_t symbols[kTileChunks][64];
  alignas(64) uint8_t odd[kTileChunks][64];
  alignas(64) uint8_t bytes[kTileChunks][64];
  alignas(64) uint16_t tails[kTileChunks][64];
};
// Splits a whole tile, 16 rows `row_stride_bytes` apart of 32 words each. Returns the tail bits that any word has.
using SplitWords = uint32_t (*)(DType dtype, const uint8_t* words, int64_t row_stride_bytes, SplitTile& pieces);

// One level of a code as encoders see it: `own` symbols at the head of `table`, which begins at rank `start`.
struct CodeLevel {
  const uint8_t* ranks;  // [256], index of each symbol in the whole table, or its length
  const uint8_t* table;
  int start, own;
};
// Fields of 64 symbols, all of rank `start` or more, in one level: min(rank - start, own), `own` being the survivor.
// Writes the surviving symbols, in order, to `survivors` (64 bytes of room) and returns how many there are.
using CodeGroup = int64_t (*)(const uint8_t* symbols, const CodeLevel& level, uint8_t* fields, uint8_t* survivors);

// Exclusive or of whole 64-byte lines: a read-stream test for benchmarks, with the prefetching of the kernels.
using ReadStream = uint64_t (*)(const uint8_t* bytes, int64_t count_bytes);

// Fields of 8-bit weights: blocks of 16 rows x 16 columns, `bits` (0 to 8) each (codes/words/integer). Writes 256
// bytes a block, (field + base) ^ flip, in the order of the block's chunks.
using UnpackFields = void (*)(const uint8_t* fields, int64_t blocks, int bits, uint8_t base, uint8_t flip,
                              uint8_t* out);
// Packed indices (lookup.hpp) of so many bits to a byte each, whose upper bits may be anything: what
// bitmaps of float32 take in place of values where the cursor has a palette. Null: they take words alone.
using UnpackIndices = void (*)(const uint8_t* packed, int64_t chunks, int bits, uint8_t* out);
inline constexpr int kMinMaskedIndexBits = 4, kMaxMaskedIndexBits = 5;
// Chunks of bytes from row x 4 + column to column x 16 + row.
using TurnChunks = void (*)(const uint8_t* chunks, int64_t count, uint8_t* out);
// sums[slice * 16 + row] = fields x columns of x[slice * x_stride ...], 1 or 3 slices, exact for at most 128 blocks.
using MultiplyFields = void (*)(const uint8_t* fields, int64_t blocks, int bits, const int8_t* x, int64_t x_stride,
                                int slices, int32_t* sums);
// sums[slice * 4 + k] = bytes of rows[k] x x, 1 or 2 slices of at most 12 bits, exact for at most 2,048 columns;
// nothing beyond them is read.
using MultiplyBytes = void (*)(const uint8_t* const* rows, int64_t columns, bool is_signed, const int16_t* x,
                               int64_t x_stride, int slices, int32_t* sums);

// out[2 i], out[2 i + 1] = the low and the high half of pairs[i], as int8 where they are signed, else as uint8; nothing
// beyond `count` pairs is read or written.
using UnpackPairs = void (*)(const uint8_t* pairs, int64_t count, bool is_signed, uint8_t* out);

// Words folded to sign and size (codes/words/integer/distances.py) to words at that distance from `centre`; nothing is
// read or written beyond `count`, and out is no part of folded.
struct UnfoldKernels {
  void (*bytes)(const uint8_t* folded, int64_t count, uint8_t centre, uint8_t* out);
  void (*words)(const uint16_t* folded, int64_t count, uint16_t centre, uint16_t* out);
  void (*widen)(const uint8_t* folded, int64_t count, uint16_t centre, uint16_t* out);
};
// Batch rows of x in slices: x + b * row_stride + slice * stride, as many columns as the weights have.
template <class Slice>
struct SlicedRows {
  const Slice* x;
  int64_t row_stride, stride;
  int slices, rows;
  const uint32_t* columns = nullptr;  // of x at which each chunk begins; null: one after another
};
// sums[(b * slices + slice) * 16 + row] += chunks of folded bytes in vector order, unfolded about `centre` and taken as
// 0 to 255, x columns of x; exact for at most 2,048 columns in all.
template <class Slice>
using MultiplyFolded = void (*)(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<Slice>& x,
                                int32_t* sums);

// The same for chunks of masks and the bytes under them, for one row of x; moves the cursor on.
using MultiplyMasked = void (*)(Cursor& cursor, int64_t chunks, uint8_t centre, const SlicedRows<int8_t>& x,
                                int32_t* sums);

// The largest size of floats, NaN above infinity.
using LargestFloat = float (*)(const float* x, int64_t count);
// integers[i] = x[i] x factors[0] x factors[1] to the nearest integer, ties to even, below 2^23 in size, and
// their sum; each sliced into three of 8 bits or two of 12, the lowest first, at out[slice * stride + i]. Integers and
// slices are written up to the next multiple of 8, zeros beyond count.
template <class Slice>
using SliceFloats = int64_t (*)(const float* x, int64_t count, const float (&factors)[2], int32_t* integers, Slice* out,
                                int64_t stride);

// Bit i: whether byte i of 64 is zeros[i % 16].
using EqualBytes = uint64_t (*)(const uint8_t* bytes, const uint8_t* zeros);

// Adds addends[i % 16] to each byte of `chunks` chunks, modulo 256.
using AddBytes = void (*)(uint8_t* bytes, int64_t chunks, const uint8_t* addends);

// Lines [first, last) of 16 rows (kernels/row_fields_layout.hpp) to bytes, column by column: out[column * 16 + row],
// from the first one's first column on.
using ExpandRowFields = void (*)(const uint8_t* lines, int64_t lines_per_row, int64_t first, int64_t last, int bits,
                                 uint8_t* out);
// sums[b * 16 + row] += 16 rows of lines x x[b * x_stride ...]; batch 1, 2 or 4; x has as many columns as lines have.
using MultiplyRowFields = void (*)(const RowFieldsPart& part, const float* x, int64_t x_stride, int batch, float* sums);
// x in the order in which a dtype's kernel of ordered row fields takes it; whole lines of 4 bits.
using OrderX = void (*)(DType dtype, const float* x, int64_t columns, float* out);

struct KernelTable {
  const char* isa;
  ExpandLevels expand_levels;
  // [dtype][code: 0 any (scalar), 1 packed, 2..5 layered with 1..4 planes first, 6 bitmap, 7 palette, 8 select, 9
  // affine, 10 sparse affine][tail]
  CodeKernels codes[6][11][3];
  GapKernels gaps[3];         // float32, bfloat16, float16
  GapKernels gap_numbers[3];  // of numbers with one scale a lane
  ScaleGaps scale_gaps[3];
  MultiplyGaps multiply_gaps;
  UnpackFields unpack_fields;
  TurnChunks turn_chunks;
  UnpackIndices unpack_indices;
  MultiplyFields multiply_fields;
  MultiplyBytes multiply_bytes;
  UnpackPairs unpack_pairs;
  LargestFloat largest_float;
  SliceFloats<int8_t> slice_bytes;
  SliceFloats<int16_t> slice_words;
  EqualBytes equal_bytes;
  AddBytes add_bytes;
  ExpandRowFields expand_row_fields;
  MultiplyRowFields multiply_row_fields[3];  // float32, bfloat16, float16
  // Row fields of 4 bits whose groups have whole lines, by x that order_x has put in order; null: multiply_row_fields.
  MultiplyRowFields multiply_ordered[3];
  OrderX order_x;
  UnfoldKernels unfold;
  MultiplyFolded<int8_t> multiply_folded_bytes;   // 1 or 3 slices of 8 bits; null where 12 bits are faster
  MultiplyFolded<int16_t> multiply_folded_words;  // 1 or 2 slices of at most 12 bits
  // The same for bytes that are not folded: centre is added to them; chunks may begin at any columns of x.
  MultiplyFolded<int8_t> multiply_shifted_bytes;
  MultiplyFolded<int16_t> multiply_shifted_words;
  MultiplyMasked multiply_masked;  // null: masks are spread to bytes first
  BlockKernels blocks[3];          // likewise
  ExpandIndices expand_indices;
  RowBlockProduct row_blocks[2];  // of 4 and 8 columns
  StoreRows store_rows;
  MultiplyFloats multiply_floats;
  Convolve convolve;
  PairKernels pairs;
  WinogradKernels winograd;
  PoolKernels pool;
  UnaryKernel activate[kUnaryCount];  // by Unary
  TokenKernels tokens;
  Depthwise depthwise;
  SparseKernels sparse;
  PixelKernels pixels;
  QuantisedKernels quantised;
  MultiplyPairs multiply_pairs;  // null: bfloat16 is multiplied as float32
  MultiplyTiles multiply_tiles;  // null: there is no matrix unit
  EnterTiles enter_tiles;
  LeaveTiles leave_tiles;
  MultiplyRows multiply_rows;
  WidenWords widen_words;
  DenseProduct dense_product;
  SplitWords split_words;
  CountBits count_bits;
  CodeGroup code_group;
  ReadStream read_stream;
  AnsKernels ans;
};

inline constexpr int kBitmapIndex = 6;
inline constexpr int kPaletteIndex = 7;
inline constexpr int kNOfMIndex = 8;
inline constexpr int kAffineIndex = 9;
inline constexpr int kSparseAffineIndex = 10;

// 0 is the scalar kernel for everything: constant symbols and constant bytes are too rare for kernels of their own.
inline int code_index(const Parameters& parameters) {
  if (parameters.code == SymbolCode::kBitmap) return kBitmapIndex;
  if (parameters.code == SymbolCode::kPalette) return kPaletteIndex;
  if (parameters.code == SymbolCode::kNOfM) return kNOfMIndex;
  if (parameters.code == SymbolCode::kAffine) return kAffineIndex;
  if (parameters.code == SymbolCode::kSparseAffine) return kSparseAffineIndex;
  if (parameters.code == SymbolCode::kConstant || parameters.byte_is_constant) return 0;
  return parameters.code == SymbolCode::kPacked ? 1 : 1 + parameters.widths[0];
}

// Each fills the entries it has; called in order from `scalar` upward, so later ones overwrite.
void fill_scalar(KernelTable& table);
void fill_avx2(KernelTable& table);
void fill_avx2_vnni(KernelTable& table);
void fill_avx512(KernelTable& table);
void fill_avx512_bf16(KernelTable& table);
void fill_amx(KernelTable& table);

}  // namespace tersely
