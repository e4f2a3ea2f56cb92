// What kernels see of a coded matrix: plain numbers and pointers, checked before they get here.
//
// Words as in design: chunk = 16 rows x 4 columns, tile = 8 chunks, panel = 16 rows x all columns, segment = the unit
// of random access, unit = what one worker takes. FORMAT: docs/FORMAT.md, "Exponents"; layout.py is the
// same in Python.
#pragma once

#include <cstdint>

namespace tersely {

constexpr int64_t kPanelRows = 16;
constexpr int64_t kChunkColumns = 4;
constexpr int64_t kChunkWeights = 64;
constexpr int64_t kTileChunks = 8;
constexpr int64_t kSegmentColumns = 2048;
constexpr int64_t kSegmentWeights = 32768;
constexpr int64_t kSegmentChunks = kSegmentWeights / kChunkWeights;
constexpr int64_t kSlackBytes = 64;
constexpr int kMaximumLevels = 6;
constexpr int kMaximumWidth = 4;

// kIndex is no float: a byte that is all symbol, under which palette's indices are coded.
enum class DType : uint8_t { kFloat32, kBfloat16, kFloat16, kFloat8E4M3, kFloat8E5M2, kIndex };
// kBitmap and kNOfM are sparse's: chunks of one mask word each, or codes of n columns among m; their values are the
// survivors that a cursor walks. kPalette is palette's: chunks of 64 indices, packed, under one of the
// other codes, or held by another formulation. kAffine is affine's: chunks of 64 numbers, as bytes; kSparseAffine too:
// chunks of one mask word each, whose survivors are numbers minus zero, signed bytes.
enum class SymbolCode : uint8_t { kConstant, kPacked, kLayered, kBitmap, kPalette, kNOfM, kAffine, kSparseAffine };
enum class Tail : uint8_t { kNone, kBits3, kWord };
constexpr int64_t kTailBytes[3] = {0, 24, 128};

// Bits of each dtype; the rows of `Fields` in layout.py.
struct Fields {
  int word_bytes;
  int symbol_shift;
  int symbol_bits;
  int odd_count;
  uint16_t odd_values[4];
  bool has_byte;
  bool rotated;
};
constexpr Fields kFields[6] = {
    {4, 7, 8, 0, {0, 0, 0, 0}, true, true},
    {2, 7, 8, 0, {0, 0, 0, 0}, true, true},
    {2, 10, 5, 3, {0x100, 0x200, 0x8000, 0}, true, false},
    {1, 3, 4, 4, {1, 2, 4, 0x80}, false, false},
    {1, 2, 5, 3, {1, 2, 0x80, 0}, false, false},
    {1, 0, 8, 0, {0, 0, 0, 0}, false, false},
};

// Place in the chunk's 64 symbols and bytes of (row, column); layout.py draws why.
constexpr int chunk_position(DType dtype, int row, int column) {
  switch (dtype) {
    case DType::kFloat32:
      return row / 4 * 16 + column * 4 + row % 4;
    case DType::kBfloat16:
      return row / 4 * 16 + column / 2 * 8 + row % 4 * 2 + column % 2;
    case DType::kFloat16:
      return (column % 2 * 2 + row / 8) * 16 + column / 2 * 8 + row % 8;
    default:
      return column * 16 + row;
  }
}
// Place in the chunk's 64 tail words of (row, column); float32 only.
constexpr int tail_position(int row, int column) { return column / 2 * 32 + row / 4 * 8 + column % 2 * 4 + row % 4; }

// Place of (row, column) in a decoded chunk in *vector order*: what `decode` kernels write and products read.
// bfloat16: column pair, row, column in pair; all others: column, row.
constexpr int vector_position(DType dtype, int row, int column) {
  return dtype == DType::kBfloat16 ? column / 2 * 32 + row * 2 + column % 2 : column * 16 + row;
}

// Place of a row's slot-th chosen column among the 16 n values of a block of n_of_m: pairs of bfloat16 lie together.
constexpr int slot_position(DType dtype, int n, int row, int slot) {
  const bool paired = dtype == DType::kBfloat16 && slot / 2 * 2 + 1 < n;
  return paired ? slot / 2 * 32 + row * 2 + slot % 2 : slot * 16 + row;
}

struct Parameters {
  DType dtype;
  SymbolCode code;
  Tail tail, short_tail;
  bool has_short;
  bool byte_is_constant;
  uint8_t byte;
  int levels;
  int widths[kMaximumLevels];
  int code_bytes;          // per chunk, in the tiles
  int64_t chunk_bytes[2];  // per chunk in panels of long and of short tail
  // Symbols of each level by field, 16 entries a level: one vpshufb each. For packed and constant: level 0.
  alignas(16) uint8_t tables[kMaximumLevels][16];
  // Of kNOfM: n columns of each m, the bits of a code, the bytes of a panel's codes, the columns (bits) of each code.
  int n, m, n_of_m_bits;
  int64_t panel_bytes;
  uint8_t selections[256];
};

struct Streams {
  const uint8_t* tiles;
  const uint8_t* escapes;
  const uint8_t* levels[kMaximumLevels];  // [1] is level 2; [0] unused
  const uint64_t* directory;              // [segments + 1][columns]
  int directory_columns;
  const uint8_t* short_panels;  // bit per panel, or null
  const uint32_t* short_rank;   // marked panels before each 64-panel word, or null
};

// What `expand_levels` reads: streams of split and their parameters. Levels are those of directly addressable codes
// (N. R. Brisaboa, S. Ladra, G. Navarro, "DACs: Bringing direct access to variable-length codes", 2013,
// doi:10.1016/j.ipm.2012.08.003), with the fields of a level transposed into planes.
struct SplitStreams {
  Parameters parameters;
  Streams streams;
};

struct Palette;      // lookup.hpp
struct AffineGroup;  // affine_groups.hpp

// Where a worker stands inside a segment.
struct Cursor {
  const uint8_t* tile;           // bytes of the next tile
  const uint8_t* survivors;      // next symbol of the level below the tiles
  const uint8_t* survivors_end;  // SAFE BECAUSE: survivors never passes it, and 64 readable bytes follow it
  // SymbolCode::kPalette: its words, and how coded indices become bytes (null: they are packed in the tiles).
  // SymbolCode::kBitmap: the words that survivors are indices of, a byte each; null where they are the words.
  const Palette* palette = nullptr;
  const Parameters* index_parameters = nullptr;
  void (*decode_indices)(const Parameters&, Cursor&, int64_t, void*) = nullptr;
  // Where coded indices are only the high parts: how those are decoded, and the packed low bits that go below them.
  void (*decode_high)(const Parameters&, Cursor&, int64_t, void*) = nullptr;
  const uint8_t* low = nullptr;
  int low_bits = 0;
  // SymbolCode::kAffine, kSparseAffine: the group of the next chunk, how many of its chunks are left, whether numbers
  // stand for -0.0.
  const AffineGroup* group = nullptr;
  int64_t group_left = 0;
  bool negative_zeros = false;
  // Bytes from `tile` to what is to be brought to the second-level cache meanwhile; 0: as far as kernels choose.
  int64_t ahead = 0;
};

}  // namespace tersely
