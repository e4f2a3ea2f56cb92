// Two panels of float32 decoded and multiplied by the first pixels meanwhile. AVX2.
//
// for each tile of 8 chunks and each panel: decoded to memory, then multiplied by the pixels, four at a time.
// Sixteen registers do not hold sums beside what decoding needs, so the two follow each other; but both are short
// enough for the processor to begin one while the other's operations wait, and codes are asked for between products,
// not for a whole block at once. MEASURED on Zen 5, one thread, linear layers of 32 tokens: 4 to 10 % faster than
// decoded first; by four chunks in turns 1 to 3 % slower than by eight, by two no faster than decoded first.
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int kTilePixels = 4;
static_assert(kEarlyPixels % kTilePixels == 0);

// What decoding one panel goes on from.
struct Side {
  const uint8_t *tile, *below, *end;
  int64_t far;
  explicit Side(const Cursor& cursor)
      : tile(cursor.tile), below(cursor.survivors), end(cursor.survivors_end), far(far_of(cursor.ahead)) {}
  void give_back(Cursor& cursor) const { cursor.tile = tile, cursor.survivors = below; }
};

// The next tile, of `count` chunks.
template <int Code, Tail T>
TERSELY_INLINE void decode_tile(Side& side, int64_t count, __m256i table, float* to) {
  constexpr DType D = DType::kFloat32;
  constexpr int64_t kTileBytes = 8 * (code_bytes(Code) + 64 + kTailBytes[static_cast<int>(T)]);
  constexpr int64_t kLines = (kTileBytes + 511) / 512;
  const TilePieces<D, Code, T> from(side.tile, count);
#pragma GCC unroll 1
  for (int64_t j = 0; j < count; ++j) {
    __m256i v[kVectors<D>];
    chunk_vectors<D, Code, T>(from, count, j, table, side.below, side.end, v);
#pragma GCC unroll 4
    for (int64_t line = 0; line < kLines; ++line)
      prefetch_stream(v[line % kVectors<D>], side.tile + (j * kLines + line) * 64, side.far);
#pragma GCC unroll 8
    for (int i = 0; i < kVectors<D>; ++i) store256(to + j * 64 + i * 8, v[i]);
  }
  side.tile = from.end;
}

// Where chunks of columns lie in x, in bytes from a pixel on.
struct Place {
  const int32_t* offset;
  int64_t run_bytes, at, end;
  Place(const int32_t* offsets, int64_t run)
      : offset(offsets), run_bytes(run * 4), at(int64_t{*offsets} * 4), end(at + run_bytes) {}
  TERSELY_INLINE int64_t here() {
    if (at == end) at = int64_t{*++offset} * 4, end = at + run_bytes;
    return at;
  }
};

// sums[pixel][16] += chunks of one panel x pixels. Returns where the chunks after them lie.
Place multiply_some(const float* w, int64_t chunks, const char* const* x, Place place, float* sums) {
  __m256 acc[kTilePixels][2];
#pragma GCC unroll 8
  for (int i = 0; i < 2 * kTilePixels; ++i) acc[i / 2][i % 2] = _mm256_load_ps(sums + i * 8);
#pragma GCC unroll 1
  for (; chunks != 0; --chunks, w += 64) {
    const int64_t at = place.here();
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const __m256 low = _mm256_loadu_ps(w + k * 16), high = _mm256_loadu_ps(w + k * 16 + 8);
#pragma GCC unroll 4
      for (int p = 0; p < kTilePixels; ++p) {
        const __m256 value = _mm256_broadcast_ss(reinterpret_cast<const float*>(x[p] + at) + k);
        acc[p][0] = _mm256_fmadd_ps(low, value, acc[p][0]);
        acc[p][1] = _mm256_fmadd_ps(high, value, acc[p][1]);
      }
    }
    place.at += 16;
  }
#pragma GCC unroll 8
  for (int i = 0; i < 2 * kTilePixels; ++i) _mm256_store_ps(sums + i * 8, acc[i / 2][i % 2]);
  return place;
}

void copy_pixel(const float* from, float* to) { __builtin_memcpy(to, from, 16 * sizeof(float)); }

template <int Code, Tail T>
void decode_multiply(const Parameters& p, Cursor* cursors, int64_t chunks, float* out, int64_t out_stride,
                     const EarlyPixels& pixels) {
  const __m256i table = broadcast_table(p.tables[0]);
  Side sides[2] = {Side(cursors[0]), Side(cursors[1])};
  const char* x[kEarlyPixels];
  alignas(32) float sums[2][kEarlyPixels][16] = {};
  for (int i = 0; i < kEarlyPixels; ++i) {
    x[i] = reinterpret_cast<const char*>(pixels.x + pixels.x_at[i]);
    for (int k = 0; k < 2 && !pixels.first; ++k)
      copy_pixel(pixels.y + k * pixels.y_panel_stride + pixels.y_at[i], sums[k][i]);
  }
  Place place(pixels.offsets, pixels.run);
  for (int64_t done = 0; done < chunks; done += 8) {
    const int64_t count = chunks - done < 8 ? chunks - done : 8;
    Place after = place;
#pragma GCC unroll 1
    for (int k = 0; k < 2; ++k) {
      float* to = out + k * out_stride + done * 64;
      decode_tile<Code, T>(sides[k], count, table, to);
#pragma GCC unroll 1
      for (int i = 0; i < kEarlyPixels; i += kTilePixels) after = multiply_some(to, count, x + i, place, sums[k][i]);
    }
    place = after;
  }
  for (int k = 0; k < 2; ++k) {
    sides[k].give_back(cursors[k]);
    for (int i = 0; i < kEarlyPixels; ++i)
      copy_pixel(sums[k][i], pixels.y + k * pixels.y_panel_stride + pixels.y_at[i]);
  }
}

template <Tail T, int... Codes>
void fill(KernelTable& table) {
  ((table.codes[static_cast<int>(DType::kFloat32)][Codes][static_cast<int>(T)].decode_multiply =
        decode_multiply<Codes, T>),
   ...);
}

}  // namespace

void fill_avx2_early_pixels(KernelTable& table) {
  fill<Tail::kNone, 1, 2, 3, 4, 5>(table);
  fill<Tail::kBits3, 1, 2, 3, 4, 5>(table);
  fill<Tail::kWord, 1, 2, 3, 4, 5>(table);
}

}  // namespace tersely
