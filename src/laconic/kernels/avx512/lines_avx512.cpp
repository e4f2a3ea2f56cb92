// Lines of numbers under AVX-512: a line is a register, whose dwords are shifted from 16 columns to the next.
//
// up to 4 bits: one permute of 16 words, which looks at the four lowest bits; tables repeat
// 8 bits: into a float of whole numbers, minus that and the zero; times the scale at once where that is rounded, else
// at the end of a group
#include <type_traits>

#include "laconic/formulations/affine/lines.hpp"
#include "laconic/kernels/avx512/chunks.hpp"
#include "laconic/kernels/table.hpp"

namespace laconic {
namespace {

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
// Veltkamp's: w x this, minus that minus w, is w rounded to the 8 bits of bfloat16, to nearest, and ties to even here.
constexpr float kSplitter = 0x1p16F + 1;
constexpr int kWhole = 0x4B000000;  // the bits of 2^23, whose lowest are those of whole numbers added to it

// A float as a word of the dtype reads.
template <DType D>
LACONIC_INLINE __m512 as_read(__m512 weights) {
  if constexpr (D == DType::kFloat16) return _mm512_cvtph_ps(_mm512_cvtps_ph(weights, kNearest));
  if constexpr (D != DType::kBfloat16) return weights;
  const __m512 wide = _mm512_mul_ps(weights, _mm512_set1_ps(kSplitter));
  return _mm512_sub_ps(wide, _mm512_sub_ps(wide, weights));
}

// The words that numbers of up to 4 bits stand for, one after another and again from the first on.
template <DType D>
LACONIC_INLINE __m512 words_of(const LinesPart& part, int64_t at, __m512 numbers) {
  const __m512 from_zero = _mm512_sub_ps(numbers, _mm512_set1_ps(part.zeros[at]));
  return as_read<D>(_mm512_mul_ps(from_zero, _mm512_set1_ps(part.scales[at])));
}

LACONIC_INLINE float sum_of(__m512 v) {
  alignas(64) float lanes[16];
  _mm512_storeu_ps(lanes, v);
  const __m256 eight = _mm256_add_ps(_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + 8));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// Calls begin(group), step(row, a line whose lowest fields are next, x of their columns) and
// end(group) for `Rows` rows side by side. Whatever lies above the lowest fields is no matter: from byte to byte of
// dwords, a load from there is a shift that takes no arithmetic port.
template <int Bits, int Rows, class Begin, class Step, class End>
LACONIC_INLINE void for_steps(const LinesPart& part, int64_t row, const float* x, Begin&& begin, Step&& step,
                              End&& end) {
  constexpr int kSteps = static_cast<int>(line_steps(Bits)), kUnrolled = kSteps < 8 ? kSteps : 8;
  const uint8_t* at = part.lines + row * part.row_bytes;
  __m512i fields[Rows];
  // Groups shorter than a line, of so many steps each.
  const auto grouped = [&](auto steps) LACONIC_SINK {
    int64_t group = 0;
    for (int64_t line = 0; line < part.lines_per_row; ++line, at += kLineBytes) {
#pragma GCC unroll 4
      for (int k = 0; k < Rows; ++k) {
        fields[k] = _mm512_loadu_si512(at + k * part.row_bytes);
        __builtin_prefetch(at + (k + Rows) * part.row_bytes);
      }
      for (int64_t done = 0; done < kSteps; done += steps, ++group) {
        begin(group);
#pragma GCC unroll 4
        for (int64_t i = 0; i < steps; ++i, x += kStepColumns)
#pragma GCC unroll 4
          for (int k = 0; k < Rows; ++k) {
            step(k, fields[k], x);
            fields[k] = _mm512_srli_epi32(fields[k], Bits);
          }
        end(group);
      }
    }
  };
  if (part.group_steps < kSteps) {
    if (part.group_steps == 1) return grouped(std::integral_constant<int64_t, 1>{});
    if (part.group_steps == 2) return grouped(std::integral_constant<int64_t, 2>{});
    if (part.group_steps == 4) return grouped(std::integral_constant<int64_t, 4>{});
    return grouped(part.group_steps);
  }
  const int64_t lines_per_group = part.group_steps / kSteps;
  for (int64_t line = 0, group = 0; line < part.lines_per_row; ++group) {
    const int64_t left = part.lines_per_row - line, lines = left < lines_per_group ? left : lines_per_group;
    begin(group);
    for (int64_t i = 0; i < lines; ++i, at += kLineBytes) {
#pragma GCC unroll 4
      for (int k = 0; k < Rows; ++k) __builtin_prefetch(at + (k + Rows) * part.row_bytes);
      for (int done = 0; done < kSteps; done += kUnrolled)
#pragma GCC unroll 8
        for (int next = 0; next < kUnrolled; ++next, x += kStepColumns)
#pragma GCC unroll 4
          for (int k = 0; k < Rows; ++k) {
            // SAFE BECAUSE: three bytes behind a line are still the stream's, or its slack.
            if (next * Bits % 8 == 0) {
              const uint8_t* from = at + k * part.row_bytes + (done + next) * Bits / 8;
              fields[k] = _mm512_loadu_si512(from);
            } else {
              fields[k] = _mm512_srli_epi32(fields[k], Bits);
            }
            step(k, fields[k], x);
          }
    }
    end(group);
    line += lines;
  }
}

template <int Bits, DType D, int Batch>
void multiply(const LinesPart& part, const float* x, int64_t x_stride, float* sums) {
  constexpr int kRows = 4;
  alignas(64) int32_t repeated[16];
  for (int i = 0; i < 16; ++i) repeated[i] = i & ((1 << Bits) - 1);
  const __m512 numbers = _mm512_cvtepi32_ps(_mm512_loadu_si512(repeated));
  for (int64_t row = 0; row < 16; row += kRows) {
    __m512 acc[kRows * Batch], words[kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kRows * Batch; ++i) acc[i] = _mm512_setzero_ps();
    for_steps<Bits, kRows>(
        part, row, x,
        [&](int64_t group) LACONIC_SINK {
#pragma GCC unroll 4
          for (int k = 0; k < kRows; ++k) words[k] = words_of<D>(part, group * 16 + row + k, numbers);
        },
        [&](int k, __m512i fields, const float* columns) LACONIC_SINK {
          const __m512 weights = _mm512_permutexvar_ps(fields, words[k]);
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
void multiply_bytes(const LinesPart& part, const float* x, int64_t x_stride, float* sums) {
  constexpr bool kWords = D != DType::kFloat32;
  constexpr int kRows = Batch == 4 ? 2 : 4;
  for (int64_t row = 0; row < 16; row += kRows) {
    __m512 acc[kRows * Batch], total[kRows * Batch], zero[kRows], scale[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows * Batch; ++i) acc[i] = total[i] = _mm512_setzero_ps();
    for_steps<8, kRows>(
        part, row, x,
        [&](int64_t group) LACONIC_SINK {
#pragma GCC unroll 4
          for (int k = 0; k < kRows; ++k) {
            zero[k] = _mm512_set1_ps(part.zeros[group * 16 + row + k] + 0x1p23F);
            scale[k] = _mm512_set1_ps(part.scales[group * 16 + row + k]);
          }
        },
        [&](int k, __m512i fields, const float* columns) LACONIC_SINK {
          // (fields & 255) | the bits of 2^23
          const __m512i bits =
              _mm512_ternarylogic_epi64(fields, _mm512_set1_epi32(255), _mm512_set1_epi32(kWhole), 0xEA);
          __m512 weights = _mm512_sub_ps(_mm512_castsi512_ps(bits), zero[k]);
          if constexpr (kWords) weights = as_read<D>(_mm512_mul_ps(weights, scale[k]));
#pragma GCC unroll 4
          for (int b = 0; b < Batch; ++b)
            acc[k * Batch + b] = _mm512_fmadd_ps(weights, _mm512_loadu_ps(columns + b * x_stride), acc[k * Batch + b]);
        },
        [&](int64_t) LACONIC_SINK {
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

template <int Bits, DType D>
void multiply_rows(const LinesPart& part, const float* x, int64_t x_stride, int batch, float* sums) {
  const auto run = [&](auto rows) {
    if constexpr (Bits == 8) {
      multiply_bytes<D, decltype(rows)::value>(part, x, x_stride, sums);
    } else {
      multiply<Bits, D, decltype(rows)::value>(part, x, x_stride, sums);
    }
  };
  if (batch == 1) return run(std::integral_constant<int, 1>{});
  if (batch == 2) return run(std::integral_constant<int, 2>{});
  run(std::integral_constant<int, 4>{});
}

template <DType D>
void multiply_lines(const LinesPart& part, const float* x, int64_t x_stride, int batch, float* sums) {
  switch (part.bits) {
    case 1:
      return multiply_rows<1, D>(part, x, x_stride, batch, sums);
    case 2:
      return multiply_rows<2, D>(part, x, x_stride, batch, sums);
    case 4:
      return multiply_rows<4, D>(part, x, x_stride, batch, sums);
    default:
      return multiply_rows<8, D>(part, x, x_stride, batch, sums);
  }
}

}  // namespace

void fill_avx512_lines(KernelTable& table) {
  table.multiply_lines[0] = multiply_lines<DType::kFloat32>;
  table.multiply_lines[1] = multiply_lines<DType::kBfloat16>;
  table.multiply_lines[2] = multiply_lines<DType::kFloat16>;
}

}  // namespace laconic
