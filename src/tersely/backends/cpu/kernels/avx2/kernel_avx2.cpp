// AVX2 kernels over coded tiles: levels, decode, product in registers. The AVX-512 file explains the loop.
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

template <int Width>
void expand_level(const uint8_t* planes, int64_t groups, const uint8_t* table_bytes, const uint8_t* below,
                  const uint8_t* end, uint8_t* out) {
  const __m256i table = broadcast_table(table_bytes);
  for (int64_t g = 0; g < groups; ++g) {
    __m256i symbols[2];
    plane_symbols<Width>(planes, 1, table, below, end, symbols);
    store256(out + g * 64, symbols[0]);
    store256(out + g * 64 + 32, symbols[1]);
    planes += Width * 8;
  }
  store256(out + groups * 64, _mm256_setzero_si256());
  store256(out + groups * 64 + 32, _mm256_setzero_si256());
}

void expand_levels(const SplitStreams& view, int64_t segment, uint8_t* scratch, Cursor& cursor) {
  const Parameters& p = view.parameters;
  const Streams& s = view.streams;
  if (p.code == SymbolCode::kConstant) return;
  const uint64_t* entry = s.directory + segment * s.directory_columns;
  const uint64_t* next = entry + s.directory_columns;
  const int escapes = s.directory_columns - 1;
  const uint8_t* below = s.escapes + entry[escapes];
  const uint8_t* end = s.escapes + next[escapes];
  // A line of each lasts a few segments, and nothing else asks for the next one.
  _mm_prefetch(reinterpret_cast<const char*>(next + 8 * s.directory_columns), _MM_HINT_T0);
  _mm_prefetch(reinterpret_cast<const char*>(below + 192), _MM_HINT_T0);
  for (int level = p.levels - 1; level >= 1; --level) {
    const auto groups = static_cast<int64_t>(next[level - 1] - entry[level - 1]);
    const int width = p.widths[level];
    const uint8_t* planes = s.levels[level] + entry[level - 1] * 8 * static_cast<uint64_t>(width);
    uint8_t* out = scratch + (level & 1) * kLevelScratchBytes;
    switch (width) {
      case 1:
        expand_level<1>(planes, groups, p.tables[level], below, end, out);
        break;
      case 2:
        expand_level<2>(planes, groups, p.tables[level], below, end, out);
        break;
      case 3:
        expand_level<3>(planes, groups, p.tables[level], below, end, out);
        break;
      default:
        expand_level<4>(planes, groups, p.tables[level], below, end, out);
    }
    // The next segment follows in the stream and has about as many: its first use would wait for memory.
    for (int64_t at = 0; at < groups * width * 8; at += 64)
      _mm_prefetch(reinterpret_cast<const char*>(planes + groups * width * 8 + at), _MM_HINT_T1);
    below = out;
    end = out + groups * 64;
  }
  cursor.survivors = below;
  cursor.survivors_end = end;
}

// Calls sink(j, vectors) for each chunk of a panel's tiles.
template <DType D, int Code, Tail T, class Sink>
TERSELY_INLINE void for_chunks(const Parameters& p, Cursor& cursor, int64_t chunks, Sink&& sink) {
  const __m256i table = broadcast_table(p.tables[0]);
  const uint8_t* below = cursor.survivors;
  const uint8_t* const end = cursor.survivors_end;
  const uint8_t* tile = cursor.tile;
  constexpr Fields f = kFields[static_cast<int>(D)];
  constexpr int64_t kChunkBytes =
      code_bytes(Code) + 8 * f.odd_count + (f.has_byte ? 64 : 0) + kTailBytes[static_cast<int>(T)];
  constexpr int64_t kTileBytes = 8 * kChunkBytes, kLines = (kTileBytes + 511) / 512;
  const int64_t far = far_of(cursor.ahead);
  int64_t done = 0;
  for (; done + 8 <= chunks; done += 8) {
    const TilePieces<D, Code, T> at(tile, 8);
#pragma GCC unroll 2
    for (int64_t j = 0; j < 8; ++j) {
      __m256i v[kVectors<D>];
      chunk_vectors<D, Code, T>(at, 8, j, table, below, end, v);
#pragma GCC unroll 4
      for (int64_t line = 0; line < kLines; ++line)
        prefetch_stream(v[line % kVectors<D>], tile + (j * kLines + line) * 64, far);
      sink(done + j, v);
    }
    tile = at.end;
  }
  if (const int64_t c = chunks - done; c > 0) {
    const TilePieces<D, Code, T> at(tile, c);
    for (int64_t j = 0; j < c; ++j) {
      __m256i v[kVectors<D>];
      chunk_vectors<D, Code, T>(at, c, j, table, below, end, v);
      sink(done + j, v);
    }
    tile = at.end;
  }
  cursor.tile = tile;
  cursor.survivors = below;
}

template <DType D, int Code, Tail T>
void decode_words(const Parameters& p, Cursor& cursor, int64_t chunks, void* out) {
  for_chunks<D, Code, T>(p, cursor, chunks, [&](int64_t j, const __m256i(&v)[kVectors<D>]) {
    for (int i = 0; i < kVectors<D>; ++i) store256(static_cast<uint8_t*>(out) + (j * kVectors<D> + i) * 32, v[i]);
  });
}

template <DType D, int Code, Tail T>
void decode_floats(const Parameters& p, Cursor& cursor, int64_t chunks, float* out) {
  for_chunks<D, Code, T>(p, cursor, chunks, [&](int64_t j, const __m256i(&v)[kVectors<D>]) {
    __m256 f[4][2];
    chunk_floats<D>(v, f);
    for (int i = 0; i < 8; ++i) _mm256_storeu_ps(out + j * 64 + i * 8, f[i / 2][i % 2]);
  });
}

// 16 registers: few sums, so that constants and pieces of the chunk keep theirs (8 sums for one row spilled them).
template <DType D, int Code, Tail T, int Batch>
void product(const Parameters& p, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  constexpr int kWays = Batch == 1 ? 2 : 1;
  __m256 acc[Batch][2][kWays];
  for (int b = 0; b < Batch; ++b)
    for (int i = 0; i < 2 * kWays; ++i) acc[b][i / kWays][i % kWays] = _mm256_setzero_ps();
  for_chunks<D, Code, T>(p, cursor, chunks, [&](int64_t j, const __m256i(&v)[kVectors<D>]) {
    __m256 f[4][2];
    chunk_floats<D>(v, f);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
      for (int b = 0; b < Batch; ++b) {
        const __m256 value = _mm256_broadcast_ss(x + b * x_stride + j * 4 + i);
        acc[b][0][i % kWays] = _mm256_fmadd_ps(f[i][0], value, acc[b][0][i % kWays]);
        acc[b][1][i % kWays] = _mm256_fmadd_ps(f[i][1], value, acc[b][1][i % kWays]);
      }
  });
  for (int b = 0; b < Batch; ++b)
    for (int half = 0; half < 2; ++half) {
      __m256 sum = _mm256_loadu_ps(sums + b * 16 + half * 8);
      for (int way = 0; way < kWays; ++way) sum = _mm256_add_ps(sum, acc[b][half][way]);
      _mm256_storeu_ps(sums + b * 16 + half * 8, sum);
    }
}

template <DType D, int Code, Tail T>
void fill_code(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][Code][static_cast<int>(T)];
  kernels.decode_words = decode_words<D, Code, T>;
  kernels.decode_floats = decode_floats<D, Code, T>;
  kernels.product[0] = product<D, Code, T, 1>;
  kernels.product[1] = product<D, Code, T, 2>;
  kernels.product[2] = product<D, Code, T, 4>;
}

template <DType D, Tail T = Tail::kNone>
void fill_codes(KernelTable& table) {
  fill_code<D, 1, T>(table);
  fill_code<D, 2, T>(table);
  fill_code<D, 3, T>(table);
  fill_code<D, 4, T>(table);
  fill_code<D, 5, T>(table);
}

// Indices of a palette are decoded to bytes, never multiplied.
template <int... Codes>
void fill_index_codes_of(KernelTable& table) {
  ((table.codes[static_cast<int>(DType::kIndex)][Codes][0].decode_words =
        decode_words<DType::kIndex, Codes, Tail::kNone>),
   ...);
}
void fill_index_codes(KernelTable& table) { fill_index_codes_of<1, 2, 3, 4, 5>(table); }

}  // namespace

void fill_avx2_multiply(KernelTable& table);

void fill_avx2_bitmap(KernelTable& table);
void fill_avx2_gaps(KernelTable& table);
void fill_avx2_palette(KernelTable& table);
void fill_avx2_affine(KernelTable& table);
void fill_avx2_lines(KernelTable& table);
void fill_avx2_ordered(KernelTable& table);
void fill_avx2_encode(KernelTable& table);
void fill_avx2_fields(KernelTable& table);
void fill_avx2_cut(KernelTable& table);
void fill_avx2_folded(KernelTable& table);
void fill_avx2_blocks(KernelTable& table);
void fill_avx2_n_of_m(KernelTable& table);
void fill_avx2_convolution(KernelTable& table);
void fill_avx2_early_pixels(KernelTable& table);
void fill_avx2_winograd(KernelTable& table);
void fill_avx2_pool(KernelTable& table);
void fill_avx2_ans(KernelTable& table);
void fill_avx2_ans_words(KernelTable& table);
void fill_avx2_tokens(KernelTable& table);
void fill_avx2_depthwise(KernelTable& table);
void fill_avx2_sparse(KernelTable& table);
void fill_avx2_pixels(KernelTable& table);
void fill_avx2_quantised(KernelTable& table);

void fill_avx2(KernelTable& table) {
  table.isa = "avx2";
  table.expand_levels = expand_levels;
  fill_codes<DType::kFloat32, Tail::kNone>(table);
  fill_codes<DType::kFloat32, Tail::kBits3>(table);
  fill_codes<DType::kFloat32, Tail::kWord>(table);
  fill_codes<DType::kBfloat16>(table);
  fill_codes<DType::kFloat16>(table);
  fill_codes<DType::kFloat8E4M3>(table);
  fill_codes<DType::kFloat8E5M2>(table);
  fill_index_codes(table);
  fill_avx2_multiply(table);
  fill_avx2_bitmap(table);
  fill_avx2_gaps(table);
  fill_avx2_palette(table);
  fill_avx2_affine(table);
  fill_avx2_lines(table);
  fill_avx2_ordered(table);
  fill_avx2_encode(table);
  fill_avx2_fields(table);
  fill_avx2_cut(table);
  fill_avx2_folded(table);
  fill_avx2_blocks(table);
  fill_avx2_n_of_m(table);
  fill_avx2_convolution(table);
  fill_avx2_early_pixels(table);
  fill_avx2_winograd(table);
  fill_avx2_pool(table);
  fill_avx2_ans(table);
  fill_avx2_ans_words(table);
  fill_avx2_tokens(table);
  fill_avx2_depthwise(table);
  fill_avx2_sparse(table);
  fill_avx2_pixels(table);
  fill_avx2_quantised(table);
}

}  // namespace tersely
