// What palette kernels of all instruction sets share: which stream of indices a call walks, and with which lookup.
// Included by kernel files only; everything is internal to them.
#pragma once

#include "tersely/backends/cpu/kernels/lookup.hpp"

namespace tersely {
namespace {

template <int N>
struct Number {
  static constexpr int value = N;
};

// Lookups come in four sizes: 16, 32, 64 and 256 words.
constexpr int lookup_bits(int index_bits) { return index_bits <= 4 ? 4 : index_bits <= 6 ? index_bits : 8; }

constexpr int64_t kBlockChunks = 64;  // indices that are decoded before they are looked up: 4 KB

// Calls f(bits of a packed index, bits of the lookup, chunks of indices, first chunk, number of chunks), the first two
// as types. Coded indices come as bytes, some chunks at a time. Moves the cursor on.
template <class F>
inline void for_index_blocks(Cursor& cursor, int64_t chunks, F&& f) {
  const int bits = cursor.palette->index_bits;
  if (cursor.decode_indices == nullptr) {
    const uint8_t* at = cursor.tile;
    cursor.tile += chunks * 8 * bits;
    switch (bits) {
      case 1:
        return f(Number<1>{}, Number<4>{}, at, 0, chunks);
      case 2:
        return f(Number<2>{}, Number<4>{}, at, 0, chunks);
      case 3:
        return f(Number<3>{}, Number<4>{}, at, 0, chunks);
      case 4:
        return f(Number<4>{}, Number<4>{}, at, 0, chunks);
      case 5:
        return f(Number<5>{}, Number<5>{}, at, 0, chunks);
      case 6:
        return f(Number<6>{}, Number<6>{}, at, 0, chunks);
      case 7:
        return f(Number<7>{}, Number<8>{}, at, 0, chunks);
      default:
        return f(Number<8>{}, Number<8>{}, at, 0, chunks);
    }
  }
  alignas(64) uint8_t bytes[kBlockChunks * kChunkWeights];
  for (int64_t done = 0; done < chunks; done += kBlockChunks) {
    const int64_t block = kBlockChunks < chunks - done ? kBlockChunks : chunks - done;
    cursor.decode_indices(*cursor.index_parameters, cursor, block, bytes);
    switch (lookup_bits(bits)) {
      case 4:
        f(Number<8>{}, Number<4>{}, bytes, done, block);
        break;
      case 5:
        f(Number<8>{}, Number<5>{}, bytes, done, block);
        break;
      case 6:
        f(Number<8>{}, Number<6>{}, bytes, done, block);
        break;
      default:
        f(Number<8>{}, Number<8>{}, bytes, done, block);
    }
  }
}

}  // namespace
}  // namespace tersely
