// AVX-512 kernels over coded tiles: levels, decode, product in registers.
//
// for each chunk of each tile: symbols; vectors; either stored, or multiplied by x and summed.
// The real loop departs: each batch row has several sums, so that no FMA waits for the one before.
#include "tersely/backends/cpu/kernels/avx512/tiles.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

template <int Width, bool Shift>
void expand_level(const uint8_t* planes, int64_t groups, const uint8_t* table_bytes, const uint8_t* below,
                  const uint8_t* end, __m128i table_shift, __m128i shift, uint8_t* out) {
  const __m512i table = _mm512_sll_epi16(
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table_bytes))), table_shift);
  for (int64_t g = 0; g < groups; ++g) {
    _mm_prefetch(reinterpret_cast<const char*>(planes + 1024), _MM_HINT_T0);
    _mm512_storeu_si512(out + g * 64, plane_symbols<Width, Shift>(planes, 1, table, below, end, shift));
    planes += Width * 8;
  }
  _mm512_storeu_si512(out + groups * 64, _mm512_setzero_si512());
}

template <bool Shift>
void expand_segment(const SplitStreams& view, int64_t segment, uint8_t* scratch, Cursor& cursor) {
  const Parameters& p = view.parameters;
  const Streams& s = view.streams;
  if (p.code == SymbolCode::kConstant) return;
  const uint64_t* entry = s.directory + segment * s.directory_columns;
  const uint64_t* next = entry + s.directory_columns;
  const int escapes = s.directory_columns - 1;
  const uint8_t* below = s.escapes + entry[escapes];
  // A line of each lasts a few segments, and nothing else asks for the next one.
  _mm_prefetch(reinterpret_cast<const char*>(next + 8 * s.directory_columns), _MM_HINT_T0);
  _mm_prefetch(reinterpret_cast<const char*>(below + 192), _MM_HINT_T0);
  const uint8_t* end = s.escapes + next[escapes];
  const __m128i table_shift = _mm_cvtsi32_si128(Shift ? symbol_shift_in_byte(p.dtype) : 0);
  __m128i shift = table_shift;  // of the survivors of the last level: they are escapes
  for (int level = p.levels - 1; level >= 1; --level) {
    const auto groups = static_cast<int64_t>(next[level - 1] - entry[level - 1]);
    const int width = p.widths[level];
    const uint8_t* planes = s.levels[level] + entry[level - 1] * 8 * static_cast<uint64_t>(width);
    uint8_t* out = scratch + (level & 1) * kLevelScratchBytes;
    switch (width) {
      case 1:
        expand_level<1, Shift>(planes, groups, p.tables[level], below, end, table_shift, shift, out);
        break;
      case 2:
        expand_level<2, Shift>(planes, groups, p.tables[level], below, end, table_shift, shift, out);
        break;
      case 3:
        expand_level<3, Shift>(planes, groups, p.tables[level], below, end, table_shift, shift, out);
        break;
      default:
        expand_level<4, Shift>(planes, groups, p.tables[level], below, end, table_shift, shift, out);
    }
    // The next segment follows in the stream and has about as many: its first use would wait for memory.
    for (int64_t at = 0; at < groups * width * 8; at += 64)
      _mm_prefetch(reinterpret_cast<const char*>(planes + groups * width * 8 + at), _MM_HINT_T1);
    shift = _mm_setzero_si128();
    below = out;
    end = out + groups * 64;
  }
  cursor.survivors = below;
  cursor.survivors_end = end;
}

void expand_levels(const SplitStreams& view, int64_t segment, uint8_t* scratch, Cursor& cursor) {
  // What takes the survivors decides how they lie: constant bytes go to the scalar kernel, whose symbols are not
  // shifted.
  const Parameters& p = view.parameters;
  return symbol_shift_in_byte(p.dtype) != 0 && code_index(p) != 0
             ? expand_segment<true>(view, segment, scratch, cursor)
             : expand_segment<false>(view, segment, scratch, cursor);
}

template <DType D, int Code, Tail T>
void decode_words(const Parameters& p, Cursor& cursor, int64_t chunks, void* out) {
  for_chunks<D, Code, T, true>(p, cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) TERSELY_SINK {
    for (int i = 0; i < kVectors<D>; ++i)
      _mm512_storeu_si512(static_cast<uint8_t*>(out) + (j * kVectors<D> + i) * 64, v[i]);
  });
}

template <DType D, int Code, Tail T>
void decode_floats(const Parameters& p, Cursor& cursor, int64_t chunks, float* out) {
  for_chunks<D, Code, T>(p, cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) TERSELY_SINK {
    __m512 f[4];
    chunk_floats<D>(v, f);
    for (int i = 0; i < 4; ++i) _mm512_storeu_ps(out + (j * 4 + i) * 16, f[i]);
  });
}

template <DType D, int Code, Tail T, int Batch>
void product(const Parameters& p, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  // Enough sums that no FMA waits for the one before, and no more than the registers hold beside the decoder's own.
  constexpr int kSums = Batch == 4 ? 2 : 4;
  __m512 acc[Batch * kSums];
  // Unrolled, or the compiler keeps the sums in memory, storing them in every chunk whose escapes are a branch.
#pragma GCC unroll 16
  for (int i = 0; i < Batch * kSums; ++i) acc[i] = _mm512_setzero_ps();
  for_chunks<D, Code, T>(p, cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) TERSELY_SINK {
    __m512 f[4];
    chunk_floats<D>(v, f);
#pragma GCC unroll 16
    for (int k = 0; k < Batch * 4; ++k) {
      __m512& sum = acc[k / 4 * kSums + k % kSums];
      sum = _mm512_fmadd_ps(f[k % 4], _mm512_set1_ps(x[k / 4 * x_stride + j * 4 + k % 4]), sum);
    }
  });
#pragma GCC unroll 4
  for (int b = 0; b < Batch; ++b) {
    __m512 sum = _mm512_add_ps(acc[b * kSums], acc[b * kSums + 1]);
    if constexpr (kSums == 4) sum = _mm512_add_ps(sum, _mm512_add_ps(acc[b * kSums + 2], acc[b * kSums + 3]));
    _mm512_storeu_ps(sums + b * 16, _mm512_add_ps(_mm512_loadu_ps(sums + b * 16), sum));
  }
}

// Eight batch rows, x packed: a line of x holds two columns of all rows, where rows of their own would share a cache
// set.
template <DType D, int Code, Tail T>
void product_packed(const Parameters& p, Cursor& cursor, int64_t chunks, const float* x, float* sums) {
  __m512 acc[8];
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) acc[b] = _mm512_loadu_ps(sums + b * 16);
  for_chunks<D, Code, T>(p, cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) TERSELY_SINK {
    __m512 f[4];
    chunk_floats<D>(v, f);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 8
      for (int b = 0; b < 8; ++b) acc[b] = _mm512_fmadd_ps(f[i], _mm512_set1_ps(x[(j * 4 + i) * 8 + b]), acc[b]);
  });
#pragma GCC unroll 8
  for (int b = 0; b < 8; ++b) _mm512_storeu_ps(sums + b * 16, acc[b]);
}

template <DType D, int Code, Tail T>
void fill_code(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][Code][static_cast<int>(T)];
  kernels.decode_words = decode_words<D, Code, T>;
  kernels.decode_floats = decode_floats<D, Code, T>;
  kernels.product[0] = product<D, Code, T, 1>;
  kernels.product[1] = product<D, Code, T, 2>;
  kernels.product[2] = product<D, Code, T, 4>;
  kernels.product_packed = product_packed<D, Code, T>;
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

void fill_avx512_multiply(KernelTable& table);

void fill_avx512_bitmap(KernelTable& table);
void fill_avx512_gaps(KernelTable& table);
void fill_avx512_palette(KernelTable& table);
void fill_avx512_affine(KernelTable& table);
void fill_avx512_lines(KernelTable& table);
void fill_avx512_fields(KernelTable& table);
void fill_avx512_folded(KernelTable& table);
void fill_avx512_blocks(KernelTable& table);
void fill_avx512_convolution(KernelTable& table);
void fill_avx512_winograd(KernelTable& table);
void fill_avx512_pool(KernelTable& table);
void fill_avx512_ans(KernelTable& table);
void fill_avx512_ans_words(KernelTable& table);
void fill_avx512_tokens(KernelTable& table);
void fill_avx512_depthwise(KernelTable& table);
void fill_avx512_sparse(KernelTable& table);
void fill_avx512_pixels(KernelTable& table);
void fill_avx512_quantised(KernelTable& table);
void fill_avx512_early_pixels(KernelTable& table);

void fill_avx512(KernelTable& table) {
  table.isa = "avx512";
  table.expand_levels = expand_levels;
  fill_codes<DType::kFloat32, Tail::kNone>(table);
  fill_codes<DType::kFloat32, Tail::kBits3>(table);
  fill_codes<DType::kFloat32, Tail::kWord>(table);
  fill_codes<DType::kBfloat16>(table);
  fill_codes<DType::kFloat16>(table);
  fill_codes<DType::kFloat8E4M3>(table);
  fill_codes<DType::kFloat8E5M2>(table);
  fill_index_codes(table);
  fill_avx512_multiply(table);
  fill_avx512_bitmap(table);
  fill_avx512_gaps(table);
  fill_avx512_palette(table);
  fill_avx512_affine(table);
  fill_avx512_lines(table);
  fill_avx512_fields(table);
  fill_avx512_folded(table);
  fill_avx512_blocks(table);
  fill_avx512_convolution(table);
  fill_avx512_winograd(table);
  fill_avx512_pool(table);
  fill_avx512_ans(table);
  fill_avx512_ans_words(table);
  fill_avx512_tokens(table);
  fill_avx512_depthwise(table);
  fill_avx512_sparse(table);
  fill_avx512_pixels(table);
  fill_avx512_quantised(table);
  fill_avx512_early_pixels(table);
}

}  // namespace tersely
