// Numbers to weights under AVX-512: as under AVX2, a column of 16 rows a register.
#include "tersely/backends/cpu/kernels/affine_groups.hpp"
#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"
#include "tersely/backends/cpu/kernels/avx512/rounding.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// Where numbers lie: all of them as bytes, of which one may stand for -0.0, or those under masks.
enum class Numbers : uint8_t { kBytes, kNegativeZeros, kSparse };

// Calls sink(column, number minus zero) for the next chunk of sparse numbers. A column's values are widened before they
// are spread: a mask of 16 words is what a register of dwords takes, and bytes would be spread one by one.
template <class Sink>
TERSELY_INLINE void sparse_columns(Cursor& cursor, Sink&& sink) {
  uint64_t mask = load64(cursor.tile);
  cursor.tile += 8;
  // SAFE BECAUSE: survivors never passes the end, from which 64 bytes are readable; a chunk that does not fit is zeros.
  if (__builtin_expect(static_cast<int64_t>(_mm_popcnt_u64(mask)) > cursor.survivors_end - cursor.survivors, 0))
    mask = 0;
#pragma GCC unroll 4
  for (int column = 0; column < 4; ++column) {
    const int64_t before = column == 0 ? 0 : static_cast<int64_t>(_mm_popcnt_u64(mask << (64 - 16 * column)));
    __m512i steps = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(cursor.survivors + before)));
    uint64_t bits = mask >> (16 * column);
    keep_in_register(bits);  // shifted there: mask registers are slow at it
    steps = _mm512_mask_expand_epi32(fresh_zeros(), static_cast<__mmask16>(bits), steps);
    if (column == 0) prefetch_stream(steps, cursor.survivors);
    if (column == 2) prefetch_stream(steps, cursor.tile);
    sink(column, _mm512_cvtepi32_ps(steps));
  }
  cursor.survivors += _mm_popcnt_u64(mask);
}

// Calls take(chunk, column, weights) for a panel's next chunks. Scaled: otherwise they are numbers minus zero, and
// end(scales) is called behind each group's chunks.
template <bool Scaled, Numbers N, class Take, class End>
TERSELY_INLINE void for_columns(Cursor& cursor, int64_t chunks, Take&& take, End&& end) {
  for (int64_t first = 0; first < chunks;) {
    if (cursor.group_left == 0) cursor.group_left = (++cursor.group)->chunks;
    const int64_t last = cursor.group_left < chunks - first ? first + cursor.group_left : chunks;
    cursor.group_left -= last - first;
    const __m512 scales = _mm512_loadu_ps(cursor.group->scales), zeros = _mm512_loadu_ps(cursor.group->zeros);
    if constexpr (N == Numbers::kSparse) {
      for (; first < last; ++first)
        sparse_columns(cursor, [&](int column, __m512 weights) TERSELY_SINK {
          if constexpr (Scaled) weights = _mm512_mul_ps(weights, scales);
          take(first, column, weights);
        });
      end(scales);
      continue;
    }
    for (; first < last; ++first, cursor.tile += kChunkWeights)
#pragma GCC unroll 4
      for (int column = 0; column < 4; ++column) {
        const auto* numbers = reinterpret_cast<const __m128i*>(cursor.tile + column * 16);
        const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(numbers));
        __m512 weights = _mm512_sub_ps(_mm512_cvtepi32_ps(wide), zeros);
        if constexpr (Scaled) weights = _mm512_mul_ps(weights, scales);
        if constexpr (N == Numbers::kNegativeZeros) {
          const __mmask16 is_zero = _mm512_cmpeq_epi32_mask(wide, _mm512_set1_epi32(kNegativeZero));
          weights = _mm512_mask_mov_ps(weights, is_zero, _mm512_set1_ps(-0.0F));
        }
        take(first, column, weights);
      }
    end(scales);
  }
}

template <bool Scaled, bool Sparse, class Take, class End>
TERSELY_INLINE void for_all_columns(Cursor& cursor, int64_t chunks, Take&& take, End&& end) {
  if constexpr (Sparse) return for_columns<Scaled, Numbers::kSparse>(cursor, chunks, take, end);
  cursor.negative_zeros ? for_columns<Scaled, Numbers::kNegativeZeros>(cursor, chunks, take, end)
                        : for_columns<Scaled, Numbers::kBytes>(cursor, chunks, take, end);
}

template <DType D, bool Sparse>
void decode_words(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  __m512i first = _mm512_setzero_si512();
  for_all_columns<true, Sparse>(
      cursor, chunks,
      [&](int64_t j, int column, __m512 weights) TERSELY_SINK {
        if constexpr (D == DType::kFloat32) {
          _mm512_storeu_ps(static_cast<float*>(out) + j * 64 + column * 16, weights);
        } else if constexpr (D == DType::kFloat16) {
          auto* to = static_cast<uint16_t*>(out) + j * 64 + column * 16;
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(weights, kNearest));
        } else if (column % 2 == 0) {
          first = _mm512_srli_epi32(rounded(weights), 16);
        } else {
          uint16_t* to = static_cast<uint16_t*>(out) + j * 64 + column / 2 * 32;
          _mm512_storeu_si512(to, _mm512_or_si512(first, _mm512_and_si512(rounded(weights), upper_halves())));
        }
      },
      [](__m512) {});
}

template <DType D, bool Sparse>
void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  for_all_columns<true, Sparse>(
      cursor, chunks,
      [&](int64_t j, int column, __m512 weights)
          TERSELY_SINK { _mm512_storeu_ps(out + j * 64 + column * 16, as_read<D>(weights)); },
      [](__m512) {});
}

// Numbers of float32 are multiplied before they are scaled: both are rounded once. What is rounded to 16 bits must be,
// weight by weight.
template <DType D, bool Sparse, int Batch>
void product(const Parameters&, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  constexpr bool kWords = D != DType::kFloat32;
  constexpr int kSums = Batch == 4 ? 2 : 4;  // enough that no FMA waits for the one before
  __m512 acc[Batch * kSums];
#pragma GCC unroll 16
  for (int i = 0; i < Batch * kSums; ++i) acc[i] = _mm512_setzero_ps();
  for_all_columns<kWords, Sparse>(
      cursor, chunks,
      [&](int64_t j, int column, __m512 weights) TERSELY_SINK {
        weights = as_read<D>(weights);
#pragma GCC unroll 4
        for (int b = 0; b < Batch; ++b) {
          __m512& sum = acc[b * kSums + column % kSums];
          sum = _mm512_fmadd_ps(weights, _mm512_set1_ps(x[b * x_stride + j * 4 + column]), sum);
        }
      },
      [&](__m512 scales) TERSELY_SINK {
        if (kWords) scales = _mm512_set1_ps(1.0F);
#pragma GCC unroll 4
        for (int b = 0; b < Batch; ++b) {
          __m512 sum = _mm512_add_ps(acc[b * kSums], acc[b * kSums + 1]);
          if constexpr (kSums == 4) sum = _mm512_add_ps(sum, _mm512_add_ps(acc[b * kSums + 2], acc[b * kSums + 3]));
          _mm512_storeu_ps(sums + b * 16, _mm512_fmadd_ps(sum, scales, _mm512_loadu_ps(sums + b * 16)));
#pragma GCC unroll 4
          for (int i = 0; i < kSums; ++i) acc[b * kSums + i] = _mm512_setzero_ps();
        }
      });
}

template <DType D, bool Sparse>
void fill_code(CodeKernels& kernels) {
  kernels.decode_words = decode_words<D, Sparse>;
  kernels.decode_floats = decode_floats<D, Sparse>;
  kernels.product[0] = product<D, Sparse, 1>;
  kernels.product[1] = product<D, Sparse, 2>;
  kernels.product[2] = product<D, Sparse, 4>;
}

template <DType D>
void fill(KernelTable& table) {
  fill_code<D, false>(table.codes[static_cast<int>(D)][kAffineIndex][0]);
  fill_code<D, true>(table.codes[static_cast<int>(D)][kSparseAffineIndex][0]);
}

}  // namespace

void fill_avx512_affine(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace tersely
