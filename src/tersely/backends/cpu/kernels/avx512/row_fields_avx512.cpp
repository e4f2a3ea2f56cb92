// Row fields under AVX-512: a line is a register, whose dwords are shifted from 16 columns to the next.
//
// up to 4 bits: one permute of 16 words, which looks at the four lowest bits; tables repeat
// 8 bits: into a float of integers, minus that and the zero; times the scale at once where that is rounded, else
// at the end of a group
#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"

#define TERSELY_ROW_FIELDS_SINK TERSELY_SINK
#include "tersely/backends/cpu/kernels/row_fields.hpp"

namespace tersely {
namespace {

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// A float as a word of the dtype reads.
template <DType D>
TERSELY_INLINE __m512 as_read(__m512 weights) {
  if constexpr (D == DType::kFloat16) return _mm512_cvtph_ps(_mm512_cvtps_ph(weights, kNearest));
  if constexpr (D != DType::kBfloat16) return weights;
  const __m512 wide = _mm512_mul_ps(weights, _mm512_set1_ps(kSplitter));
  return _mm512_sub_ps(wide, _mm512_sub_ps(wide, weights));
}

// The words that numbers of up to 4 bits stand for, one after another and again from the first on.
template <DType D>
TERSELY_INLINE __m512 words_of(const RowFieldsPart& part, int64_t at, __m512 numbers) {
  if (part.tables != nullptr) return _mm512_loadu_ps(part.tables + at * 16);
  const __m512 from_zero = _mm512_sub_ps(numbers, _mm512_set1_ps(part.zeros[at]));
  return as_read<D>(_mm512_mul_ps(from_zero, _mm512_set1_ps(part.scales[at])));
}

TERSELY_INLINE float sum_of(__m512 v) {
  alignas(64) float lanes[16];
  _mm512_storeu_ps(lanes, v);
  const __m256 eight = _mm256_add_ps(_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + 8));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

struct Line {
  __m512i fields;
  TERSELY_INLINE void load(const uint8_t* at) { fields = _mm512_loadu_si512(at); }
  template <int Bits>
  TERSELY_INLINE void shift() {
    fields = _mm512_srli_epi32(fields, Bits);
  }
};

template <int Bits, DType D, int Batch>
void multiply(const RowFieldsPart& part, const float* x, int64_t x_stride, float* sums) {
  constexpr int kRows = 4;
  alignas(64) int32_t repeated[16];
  for (int i = 0; i < 16; ++i) repeated[i] = i & ((1 << Bits) - 1);
  const __m512 numbers = _mm512_cvtepi32_ps(_mm512_loadu_si512(repeated));
  for (int64_t row = 0; row < 16; row += kRows) {
    __m512 acc[kRows * Batch], words[kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kRows * Batch; ++i) acc[i] = _mm512_setzero_ps();
    for_steps<Line, Bits, kRows>(
        part, row, x,
        [&](int64_t group) TERSELY_SINK {
#pragma GCC unroll 4
          for (int k = 0; k < kRows; ++k) words[k] = words_of<D>(part, group * 16 + row + k, numbers);
        },
        [&](int k, const Line& line, const float* columns) TERSELY_SINK {
          const __m512 weights = _mm512_permutexvar_ps(line.fields, words[k]);
#pragma GCC unroll 4
          for (int b = 0; b < Batch; ++b)
            acc[k * Batch + b] = _mm512_fmadd_ps(weights, _mm512_loadu_ps(columns + b * x_stride), acc[k * Batch + b]);
        },
        [](int64_t) {});
#pragma GCC unroll 16
    for (int i = 0; i < kRows * Batch; ++i) sums[i % Batch * 16 + row + i / Batch] += sum_of(acc[i]);
  }
}

template <DType D, int Batch>
void multiply_bytes(const RowFieldsPart& part, const float* x, int64_t x_stride, float* sums) {
  constexpr bool kWords = D != DType::kFloat32;
  constexpr int kRows = Batch == 4 ? 2 : 4;
  for (int64_t row = 0; row < 16; row += kRows) {
    __m512 acc[kRows * Batch], total[kRows * Batch], zero[kRows], scale[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows * Batch; ++i) acc[i] = total[i] = _mm512_setzero_ps();
    for_steps<Line, 8, kRows>(
        part, row, x,
        [&](int64_t group) TERSELY_SINK {
#pragma GCC unroll 4
          for (int k = 0; k < kRows; ++k) {
            zero[k] = _mm512_set1_ps(part.zeros[group * 16 + row + k] + 0x1p23F);
            scale[k] = _mm512_set1_ps(part.scales[group * 16 + row + k]);
          }
        },
        [&](int k, const Line& line, const float* columns) TERSELY_SINK {
          // (fields & 255) | the bits of 2^23
          const __m512i bits =
              _mm512_ternarylogic_epi64(line.fields, _mm512_set1_epi32(255), _mm512_set1_epi32(kIntegerBits), 0xEA);
          __m512 weights = _mm512_sub_ps(_mm512_castsi512_ps(bits), zero[k]);
          if constexpr (kWords) weights = as_read<D>(_mm512_mul_ps(weights, scale[k]));
#pragma GCC unroll 4
          for (int b = 0; b < Batch; ++b)
            acc[k * Batch + b] = _mm512_fmadd_ps(weights, _mm512_loadu_ps(columns + b * x_stride), acc[k * Batch + b]);
        },
        [&](int64_t) TERSELY_SINK {
          if constexpr (kWords) return;
#pragma GCC unroll 8
          for (int i = 0; i < kRows * Batch; ++i) {
            total[i] = _mm512_fmadd_ps(acc[i], scale[i / Batch], total[i]);
            acc[i] = _mm512_setzero_ps();
          }
        });
#pragma GCC unroll 8
    for (int i = 0; i < kRows * Batch; ++i)
      sums[i % Batch * 16 + row + i / Batch] += sum_of(kWords ? acc[i] : total[i]);
  }
}

struct Kernels {
  template <int Bits, DType D, int Batch>
  static void multiply(const RowFieldsPart& part, const float* x, int64_t x_stride, float* sums) {
    tersely::multiply<Bits, D, Batch>(part, x, x_stride, sums);
  }
  template <DType D, int Batch>
  static void multiply_bytes(const RowFieldsPart& part, const float* x, int64_t x_stride, float* sums) {
    tersely::multiply_bytes<D, Batch>(part, x, x_stride, sums);
  }
};

}  // namespace

void fill_avx512_lines(KernelTable& table) {
  fill_row_fields<Kernels>(table);
  for (MultiplyRowFields& ordered : table.multiply_ordered)
    ordered = nullptr;  // one permute looks 16 words up in order
}

}  // namespace tersely
