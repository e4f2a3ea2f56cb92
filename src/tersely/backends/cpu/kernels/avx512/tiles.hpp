// The loop over a panel's tiles that all AVX-512 kernels share.
//
// for each tile of 8 chunks: decode each chunk to vectors, hand them to a sink.
// The real loop departs: 1. full tiles have a compile-time chunk count, the ragged last tile does not; 2. as many lines
// as a chunk takes are prefetched beside it.
// Included by kernel files only; everything is internal to them.
#pragma once

#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"

namespace tersely {
namespace {

// Calls sink(j, vectors) for each chunk of a panel's tiles.
template <DType D, int Code, Tail T, bool Alone = false, class Sink>
TERSELY_INLINE void for_chunks(const Parameters& p, Cursor& cursor, int64_t chunks, Sink&& sink) {
  const __m512i table = _mm512_slli_epi16(
      _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(p.tables[0]))), symbol_shift_in_byte(D));
  const __m128i shift = _mm_cvtsi32_si128(p.levels > 1 ? 0 : symbol_shift_in_byte(D));
  const uint8_t* below = cursor.survivors;
  const uint8_t* const end = cursor.survivors_end;
  const uint8_t* tile = cursor.tile;
  constexpr Fields f = kFields[static_cast<int>(D)];
  constexpr int64_t kTileBytes =
      8 * (code_bytes(Code) + 8 * f.odd_count + (f.has_byte ? 64 : 0) + kTailBytes[static_cast<int>(T)]);
  constexpr int64_t kLines = (kTileBytes + 511) / 512;  // cache lines to prefetch per chunk
  // MEASURED on Zen 4: float32, which has most to read in the time of a chunk, is 5 % faster than by the others'
  // distance.
  constexpr int64_t kNear = D == DType::kFloat32 ? 2048 : kPrefetchNearBytes;
  const int64_t far = far_of(cursor.ahead);
  int64_t done = 0;
  for (; done + 8 <= chunks; done += 8) {
    const TilePieces<D, Code, T> at(tile, 8);
    _mm_prefetch(reinterpret_cast<const char*>(below + 256), _MM_HINT_T0);
#pragma GCC unroll 8
    for (int64_t j = 0; j < 8; ++j) {
      __m512i v[kVectors<D>];
      chunk_vectors<D, Code, T, Alone>(at, 8, j, table, below, end, shift, v);
#pragma GCC unroll 4
      for (int64_t line = j * kLines; line < (j + 1) * kLines; ++line)
        if (line * 64 < kTileBytes) prefetch_stream<kNear>(v[line % kVectors<D>], tile + line * 64, far);
      sink(done + j, v);
    }
    tile = at.end;
  }
  if (const int64_t c = chunks - done; c > 0) {
    const TilePieces<D, Code, T> at(tile, c);
    for (int64_t j = 0; j < c; ++j) {
      __m512i v[kVectors<D>];
      chunk_vectors<D, Code, T, Alone>(at, c, j, table, below, end, shift, v);
      sink(done + j, v);
    }
    tile = at.end;
  }
  cursor.tile = tile;
  cursor.survivors = below;
}

}  // namespace
}  // namespace tersely
