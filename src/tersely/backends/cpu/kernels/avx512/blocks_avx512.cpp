// Blocks of 16 rows under AVX-512: one vector a column, one broadcast of x. The rest is AVX2's.
#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

template <DType D>
TERSELY_INLINE __m512 load16(const uint8_t* at) {
  if constexpr (D == DType::kFloat32) {
    return _mm512_loadu_ps(reinterpret_cast<const float*>(at));
  } else {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    if constexpr (D == DType::kFloat16) return _mm512_cvtph_ps(words);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
  }
}

template <DType D, int Width, int Batch>
void product(const uint8_t* words, const uint32_t* ids, const uint32_t* columns, int64_t count, const float* x,
             int64_t x_stride, float* sums) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes, kBytes = Width * 16 * kWordBytes;
  constexpr int kWays = Width;
  __m512 acc[Batch][kWays];
  for (int i = 0; i < Batch * kWays; ++i) acc[i / kWays][i % kWays] = _mm512_setzero_ps();
  for (int64_t k = 0; k < count; ++k) {
    const uint8_t* block = words + int64_t{ids[k]} * kBytes;
    const float* at = x + columns[k];
    for (int line = 0; line < kBytes; line += 64)
      _mm_prefetch(reinterpret_cast<const char*>(block + 1024 + line), _MM_HINT_T0);
    for (int c = 0; c < Width; ++c) {
      const __m512 w = load16<D>(block + c * 16 * kWordBytes);
      for (int b = 0; b < Batch; ++b) acc[b][c] = _mm512_fmadd_ps(w, _mm512_set1_ps(at[b * x_stride + c]), acc[b][c]);
    }
  }
  for (int b = 0; b < Batch; ++b) {
    __m512 sum = _mm512_loadu_ps(sums + b * 16);
    for (int way = 0; way < kWays; ++way) sum = _mm512_add_ps(sum, acc[b][way]);
    _mm512_storeu_ps(sums + b * 16, sum);
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

void fill_avx512_blocks(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace tersely
