// The formulation `palette`: a table of at most 256 words, and for each weight its index in there.
//
// Indices lie in chunks of 64, place = column * 16 + row. Packed with k bits, a chunk is k x 8 bytes in up to three
// parts, which hold an index's bits from the lowest up:
//
//     k = 8    one part of 64 bytes
//     else     4 bits of each, if k has the 4: byte b holds place b, above it place b + 32
//              2 bits of each, if k has the 2: byte b holds places b, b + 16, b + 32, b + 48
//              1 bit of each, if k has the 1:  one word, bit b for place b
//
// Or they are a tensor of bytes of their own under a code of split. FORMAT: docs/FORMAT.md, "The formulation palette".
#pragma once

#include "tersely/backends/cpu/matrix/view.hpp"

namespace tersely {

// Dwords by index, and their bytes plane by plane, as shuffles of bytes look them up. Entry i is that of the low
// index_bits bits of i, so no index leaves the table and a kernel need not clear the bits above.
struct Lookup {
  alignas(64) uint32_t dwords[256];
  alignas(64) uint8_t planes[4][256];
  bool upper_only;  // the two low planes are zero
};

struct Palette {
  Lookup floats;  // each word as float32
  Lookup words;   // each word as it is, zeros above it
  int index_bits;
};

// entries: 1 to 256 words of the dtype.
void make_palette(Palette& palette, DType dtype, const uint8_t* words, int entries);

// The distinct words, in no order, and how often each occurs. Returns how many there are, -1 for more than 256.
int palette_count(const uint8_t* words, int64_t count, int word_bytes, uint32_t* found, uint64_t* counts, int threads);
// Each word's place in `table`, which has `entries` words. Returns whether all were found.
bool palette_indices(const uint8_t* words, int64_t count, int word_bytes, const uint32_t* table, int entries,
                     uint8_t* indices, int threads);
// Packs indices, a tensor of bytes, to chunks of `bits` bits an index. Padding has index 0.
void palette_pack(const uint8_t* indices, const Geometry& geometry, int bits, uint8_t* out, int threads);

// Packs the low `bits` bits of the 64 indices of a chunk.
void pack_chunk(const uint8_t* indices, int bits, uint8_t* out);

// One weight: its index by arithmetic, or by rank where indices have a code.
uint32_t palette_access(const SplitView& view, int64_t matrix, int64_t row, int64_t column);

// The index at `place` of a packed chunk.
inline int packed_index(const uint8_t* chunk, int bits, int place) {
  if (bits == 8) return chunk[place];
  int index = 0, shift = 0;
  if (bits & 4) {
    index = chunk[place % 32] >> (place / 32 * 4) & 15;
    chunk += 32;
    shift = 4;
  }
  if (bits & 2) {
    index |= (chunk[place % 16] >> (place / 16 * 2) & 3) << shift;
    chunk += 16;
    shift += 2;
  }
  if (bits & 1) index |= (chunk[place / 8] >> (place % 8) & 1) << shift;
  return index;
}

}  // namespace tersely
