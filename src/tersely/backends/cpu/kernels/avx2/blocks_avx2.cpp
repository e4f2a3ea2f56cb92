// Blocks under AVX2.
//
// indices       pdep spreads eight of them at once
// 16 rows       two vectors a column, one broadcast of x
// one row       a vector is a block, its sum the row's: eight rows at a time, added across at the panel's end
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

void expand_indices(const uint8_t* packed, int bits, int64_t count, uint16_t last, uint16_t* out) {
  const uint64_t lanes = 0x0001000100010001u * ((uint64_t{1} << bits) - 1);
  const __m128i most = _mm_set1_epi16(static_cast<short>(last));
  for (int64_t i = 0; i < count; i += 8, packed += bits) {
    const uint64_t low = _pdep_u64(load64(packed), lanes);
    const uint64_t high = _pdep_u64(load64(packed + bits / 2) >> (bits % 2 * 4), lanes);
    const __m128i found = _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm_min_epu16(found, most));
  }
}

template <DType D>
TERSELY_INLINE __m256 load8(const uint8_t* at) {
  if constexpr (D == DType::kFloat32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(at));
  } else {
    const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    if constexpr (D == DType::kFloat16) return _mm256_cvtph_ps(words);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
  }
}

template <DType D, int Width, int Batch>
void product(const uint8_t* words, const uint32_t* ids, const uint32_t* columns, int64_t count, const float* x,
             int64_t x_stride, float* sums) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes, kBytes = Width * 16 * kWordBytes;
  constexpr int kWays = Batch == 1 ? 2 : 1;
  __m256 acc[Batch][2][kWays];
  for (int b = 0; b < Batch; ++b)
    for (int i = 0; i < 2 * kWays; ++i) acc[b][i / kWays][i % kWays] = _mm256_setzero_ps();
#pragma GCC unroll 2
  for (int64_t k = 0; k < count; ++k) {
    const uint8_t* block = words + int64_t{ids[k]} * kBytes;
    const float* at = x + columns[k];
    for (int line = 0; line < kBytes; line += 64)
      _mm_prefetch(reinterpret_cast<const char*>(block + 1024 + line), _MM_HINT_T0);
#pragma GCC unroll 4
    for (int c = 0; c < Width; ++c)
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m256 w = load8<D>(block + (c * 16 + half * 8) * kWordBytes);
#pragma GCC unroll 4
        for (int b = 0; b < Batch; ++b)
          acc[b][half][c % kWays] =
              _mm256_fmadd_ps(w, _mm256_broadcast_ss(at + b * x_stride + c), acc[b][half][c % kWays]);
      }
  }
  for (int b = 0; b < Batch; ++b)
    for (int half = 0; half < 2; ++half) {
      __m256 sum = _mm256_loadu_ps(sums + b * 16 + half * 8);
      for (int way = 0; way < kWays; ++way) sum = _mm256_add_ps(sum, acc[b][half][way]);
      _mm256_storeu_ps(sums + b * 16 + half * 8, sum);
    }
}

TERSELY_INLINE float across4(__m128 v) {
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}

void row_product4(const float* blocks, const uint16_t* ids, int64_t across, const float* x, float* sums) {
  for (int half = 0; half < 2; ++half, ids += 8, sums += 8) {
    __m128 acc[8];
    for (int row = 0; row < 8; ++row) acc[row] = _mm_setzero_ps();
    for (int64_t at = 0; at < across; ++at) {
      const __m128 value = _mm_loadu_ps(x + at * 4);
#pragma GCC unroll 8
      for (int row = 0; row < 8; ++row)
        acc[row] = _mm_fmadd_ps(_mm_loadu_ps(blocks + ids[at * 16 + row] * 4), value, acc[row]);
    }
    for (int row = 0; row < 8; ++row) sums[row] += across4(acc[row]);
  }
}

void row_product8(const float* blocks, const uint16_t* ids, int64_t across, const float* x, float* sums) {
  for (int half = 0; half < 2; ++half, ids += 8, sums += 8) {
    __m256 acc[8];
    for (int row = 0; row < 8; ++row) acc[row] = _mm256_setzero_ps();
    for (int64_t at = 0; at < across; ++at) {
      const __m256 value = _mm256_loadu_ps(x + at * 8);
#pragma GCC unroll 8
      for (int row = 0; row < 8; ++row)
        acc[row] = _mm256_fmadd_ps(_mm256_loadu_ps(blocks + ids[at * 16 + row] * 8), value, acc[row]);
    }
    for (int row = 0; row < 8; ++row)
      sums[row] += across4(_mm_add_ps(_mm256_castps256_ps128(acc[row]), _mm256_extractf128_ps(acc[row], 1)));
  }
}

template <DType D>
void fill(KernelTable& table) {
  BlockKernels& kernels = table.blocks[static_cast<int>(D)];
  kernels.product[0][0] = product<D, 1, 1>;
  kernels.product[0][1] = product<D, 1, 2>;
  kernels.product[0][2] = product<D, 1, 4>;
  kernels.product[1][0] = product<D, 4, 1>;
  kernels.product[1][1] = product<D, 4, 2>;
  kernels.product[1][2] = product<D, 4, 4>;
}

}  // namespace

void fill_avx2_blocks(KernelTable& table) {
  table.expand_indices = expand_indices;
  table.row_blocks[0] = row_product4;
  table.row_blocks[1] = row_product8;
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace tersely
