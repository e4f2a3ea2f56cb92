// Two panels of float32 decoded and multiplied by the first pixels at once. AVX-512.
//
// for each chunk of both panels: four vectors each, of 16 outputs; stored for the pixels that follow, and multiplied by
// a broadcast of each pixel's four values, which serves both.
// Decoding is shuffles and moves to mask registers, which leave the multipliers idle. MEASURED on Zen 5, one thread, 3
// x 3 taps of 512 x 512 channels and 7 x 7 pixels, weights from memory: 980 to 1,010 us; decoded first 1,190 to 1,230;
// dense weights take 1,060 to 1,120. With one panel at a time each value of x is read for one product only: 1,050 us.
#include "tersely/backends/cpu/kernels/avx512/tiles.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// What decoding one panel goes on from.
struct Side {
  const uint8_t *tile, *below, *end;
  int64_t far;
  explicit Side(const Cursor& cursor)
      : tile(cursor.tile), below(cursor.survivors), end(cursor.survivors_end), far(far_of(cursor.ahead)) {}
  void give_back(Cursor& cursor) const { cursor.tile = tile, cursor.survivors = below; }
};

template <int Code, Tail T>
void decode_multiply(const Parameters& p, Cursor* cursors, int64_t chunks, float* out, int64_t out_stride,
                     const EarlyPixels& pixels) {
  constexpr DType D = DType::kFloat32;
  constexpr int64_t kTileBytes = 8 * (code_bytes(Code) + 64 + kTailBytes[static_cast<int>(T)]);
  constexpr int64_t kLines = (kTileBytes + 511) / 512;
  const __m512i table = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(p.tables[0])));
  const __m128i shift = _mm_setzero_si128();
  Side a(cursors[0]), b(cursors[1]);
  const char* x[kEarlyPixels];
  __m512 sums[kEarlyPixels][2];
#pragma GCC unroll 8
  for (int i = 0; i < kEarlyPixels; ++i) {
    x[i] = reinterpret_cast<const char*>(pixels.x + pixels.x_at[i]);
    for (int k = 0; k < 2; ++k)
      sums[i][k] =
          pixels.first ? _mm512_setzero_ps() : _mm512_loadu_ps(pixels.y + k * pixels.y_panel_stride + pixels.y_at[i]);
  }
  const int32_t* offset = pixels.offsets;
  const int64_t run_bytes = pixels.run * 4;
  int64_t at = int64_t{*offset} * 4, end = at + run_bytes;
  for (int64_t done = 0; done < chunks; done += 8) {
    const int64_t count = chunks - done < 8 ? chunks - done : 8;
    const TilePieces<D, Code, T> from_a(a.tile, count), from_b(b.tile, count);
#pragma GCC unroll 1
    for (int64_t j = 0; j < count; ++j) {
      __m512i v[4], w[4];
      chunk_vectors<D, Code, T, false>(from_a, count, j, table, a.below, a.end, shift, v);
      chunk_vectors<D, Code, T, false>(from_b, count, j, table, b.below, b.end, shift, w);
#pragma GCC unroll 4
      for (int64_t line = 0; line < kLines; ++line) {
        prefetch_stream<2048>(v[line % 4], a.tile + (j * kLines + line) * 64, a.far);
        prefetch_stream<2048>(w[line % 4], b.tile + (j * kLines + line) * 64, b.far);
      }
      float* to = out + (done + j) * 64;
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        _mm512_storeu_si512(to + k * 16, v[k]);
        _mm512_storeu_si512(to + out_stride + k * 16, w[k]);
      }
      if (at == end) at = int64_t{*++offset} * 4, end = at + run_bytes;
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k)
#pragma GCC unroll 8
        for (int i = 0; i < kEarlyPixels; ++i) {
          const __m512 value = _mm512_set1_ps(reinterpret_cast<const float*>(x[i] + at)[k]);
          sums[i][0] = _mm512_fmadd_ps(_mm512_castsi512_ps(v[k]), value, sums[i][0]);
          sums[i][1] = _mm512_fmadd_ps(_mm512_castsi512_ps(w[k]), value, sums[i][1]);
        }
      at += 16;
    }
    a.tile = from_a.end, b.tile = from_b.end;
  }
  a.give_back(cursors[0]), b.give_back(cursors[1]);
#pragma GCC unroll 8
  for (int i = 0; i < kEarlyPixels; ++i)
    for (int k = 0; k < 2; ++k) _mm512_storeu_ps(pixels.y + k * pixels.y_panel_stride + pixels.y_at[i], sums[i][k]);
}

template <Tail T, int... Codes>
void fill(KernelTable& table) {
  ((table.codes[static_cast<int>(DType::kFloat32)][Codes][static_cast<int>(T)].decode_multiply =
        decode_multiply<Codes, T>),
   ...);
}

}  // namespace

void fill_avx512_early_pixels(KernelTable& table) {
  fill<Tail::kNone, 1, 2, 3, 4, 5>(table);
  fill<Tail::kBits3, 1, 2, 3, 4, 5>(table);
  fill<Tail::kWord, 1, 2, 3, 4, 5>(table);
}

}  // namespace tersely
