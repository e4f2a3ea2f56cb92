// Indices of words and the words that they stand for, as kernels look them up.
//
// Indices lie in chunks of 64, place = column * 16 + row. Packed with k bits, a chunk is k x 8 bytes in up to three
// parts, which hold an index's bits from the lowest up:
//
//     k = 8    one part of 64 bytes
//     else     4 bits of each, if k has the 4: byte b holds place b, above it place b + 32
//              2 bits of each, if k has the 2: byte b holds places b, b + 16, b + 32, b + 48
//              1 bit of each, if k has the 1:  one word, bit b for place b
//
// FORMAT: docs/FORMAT.md, "Fields by chunks".
#pragma once

#include "tersely/backends/cpu/kernels/layout.hpp"

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
