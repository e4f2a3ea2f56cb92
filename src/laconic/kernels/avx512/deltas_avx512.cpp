// Gap-coded rows under AVX-512: 16 lanes a vector.
//
// for each step: column += gap, clamped; x of the columns by gather; sum += weight * x where the word is not zero bits
#include "laconic/kernels/avx512/chunks.hpp"
#include "laconic/kernels/table.hpp"

namespace laconic {
namespace {

// The words of 16 lanes at one step, as float32; a word of zero bits stays zero bits.
template <DType D>
LACONIC_INLINE __m512i weights16(const uint8_t* at) {
  if constexpr (D == DType::kFloat32) {
    return load512(at);
  } else {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    if constexpr (D == DType::kBfloat16) return _mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16);
    return _mm512_castps_si512(_mm512_cvtph_ps(words));
  }
}

template <DType D, int Batch>
void product(const DeltaEntries& e, const float* x, int64_t x_stride, float* sums) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  const __m512i last = _mm512_set1_epi32(static_cast<int>(e.last_column));
  __m512 acc[Batch][2];
  __m512i columns = _mm512_setzero_si512();
  for (int i = 0; i < 2 * Batch; ++i) acc[i / 2][i % 2] = _mm512_setzero_ps();
  for (int64_t block = 0; block < e.blocks; ++block) {
    const uint8_t* gaps = e.gaps + block * 64;
    const uint8_t* values = e.values + block * 64 * kWordBytes;
    _mm_prefetch(reinterpret_cast<const char*>(gaps + 640), _MM_HINT_T0);
    for (int line = 0; line < kWordBytes; ++line)
      _mm_prefetch(reinterpret_cast<const char*>(values + 640 * kWordBytes + line * 64), _MM_HINT_T0);
#pragma GCC unroll 4
    for (int step = 0; step < 4; ++step) {
      const __m512i gap = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(gaps + step * 16)));
      columns = _mm512_min_epu32(_mm512_add_epi32(columns, gap), last);
      const __m512i w = weights16<D>(values + step * 16 * kWordBytes);
      const __mmask16 real = _mm512_test_epi32_mask(w, w);
#pragma GCC unroll 4
      for (int b = 0; b < Batch; ++b)
        acc[b][step % 2] = _mm512_mask3_fmadd_ps(
            _mm512_castsi512_ps(w), _mm512_i32gather_ps(columns, x + b * x_stride, 4), acc[b][step % 2], real);
    }
  }
  for (int b = 0; b < Batch; ++b) _mm512_storeu_ps(sums + b * 16, _mm512_add_ps(acc[b][0], acc[b][1]));
}

// Batch rows are the lanes here: four rows of the matrix at a time, so that no sum waits for the one before.
template <DType D>
void product_packed(const DeltaEntries& e, const float* x, float* sums) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  const int64_t steps = e.blocks * 4, last = e.last_column;
  for (int lane = 0; lane < 16; lane += 4) {
    __m512 acc[4];
    for (auto& sum : acc) sum = _mm512_setzero_ps();
    int64_t columns[4] = {0, 0, 0, 0};
    const uint8_t* gaps = e.gaps + lane;
    const uint8_t* values = e.values + lane * kWordBytes;
    for (int64_t step = 0; step < steps; ++step, gaps += 16, values += 16 * kWordBytes)
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        columns[r] += gaps[r];
        columns[r] = columns[r] < last ? columns[r] : last;
        uint32_t word = 0;
        __builtin_memcpy(&word, values + r * kWordBytes, kWordBytes);
        const int64_t column = word == 0 ? last + 1 : columns[r];  // the column of zeros
        if constexpr (D == DType::kBfloat16) word <<= 16;
        __m512 weight = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(word)));
        if constexpr (D == DType::kFloat16) weight = _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(word)));
        acc[r] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(x + column * 16), acc[r]);
      }
    for (int r = 0; r < 4; ++r) _mm512_storeu_ps(sums + (lane + r) * 16, acc[r]);
  }
}

template <DType D>
void fill(KernelTable& table) {
  DeltaKernels& kernels = table.deltas[static_cast<int>(D)];
  kernels.product[0] = product<D, 1>;
  kernels.product[1] = product<D, 2>;
  kernels.product[2] = product<D, 4>;
  kernels.product_packed = product_packed<D>;
}

}  // namespace

void fill_avx512_deltas(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace laconic
