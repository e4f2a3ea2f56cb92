// Row fields under AVX2: half a line is a register, whose dwords are shifted from 16 columns to the next.
//
// up to 4 bits: two permutes of eight words each, and the field's highest bit chooses
// 8 bits: into a float of integers, minus that and the zero; times the scale at once where that is rounded, else
// at the end of a group
#include "tersely/backends/cpu/kernels/avx2/row_field_words.hpp"

namespace tersely {
namespace {

// Sixteen columns of 16 rows to columns of 16 rows.
TERSELY_INLINE void turn(const uint8_t (&rows)[16][16], uint8_t* out) {
  __m128i v[16], w[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
  // Four rounds of unpacking row i with row i + 8 bring byte c of row r to position r of register c.
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      w[2 * i] = _mm_unpacklo_epi8(v[i], v[i + 8]);
      w[2 * i + 1] = _mm_unpackhi_epi8(v[i], v[i + 8]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) v[i] = w[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i * 16), v[i]);
}

template <int Bits>
void expand(const uint8_t* lines, int64_t lines_per_row, int64_t first, int64_t last, uint8_t* out) {
  constexpr int kSteps = static_cast<int>(line_steps(Bits));
  alignas(32) uint8_t rows[kSteps][16][16];
  const __m256i mask = _mm256_set1_epi32((1 << Bits) - 1);
  for (int64_t line = first; line < last; ++line, out += kSteps * 256) {
    for (int row = 0; row < 16; ++row) {
      const uint8_t* at = lines + (row * lines_per_row + line) * kLineBytes;
      __m256i low = load256(at), high = load256(at + 32);
      for (int step = 0; step < kSteps; ++step) {
        const __m256i words = _mm256_packus_epi32(_mm256_and_si256(low, mask), _mm256_and_si256(high, mask));
        const __m256i bytes = _mm256_packus_epi16(words, words);  // dwords 0-3, 8-11 | 4-7, 12-15
        const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(rows[step][row]), _mm256_castsi256_si128(ordered));
        low = _mm256_srli_epi32(low, Bits);
        high = _mm256_srli_epi32(high, Bits);
      }
    }
    for (int step = 0; step < kSteps; ++step) turn(rows[step], out + step * 256);
  }
}

void expand_row_fields(const uint8_t* lines, int64_t lines_per_row, int64_t first, int64_t last, int bits,
                       uint8_t* out) {
  switch (bits) {
    case 1:
      return expand<1>(lines, lines_per_row, first, last, out);
    case 2:
      return expand<2>(lines, lines_per_row, first, last, out);
    case 4:
      return expand<4>(lines, lines_per_row, first, last, out);
    default:
      return expand<8>(lines, lines_per_row, first, last, out);
  }
}

// Half a line and the other half.
struct Line {
  __m256i low, high;
  TERSELY_INLINE void load(const uint8_t* at) {
    low = load256(at);
    high = load256(at + 32);
  }
  template <int Bits>
  TERSELY_INLINE void shift() {
    low = _mm256_srli_epi32(low, Bits);
    high = _mm256_srli_epi32(high, Bits);
  }
};

// Words of eight fields; Bits 4 has sixteen of them.
template <int Bits>
TERSELY_INLINE __m256 look_up(__m256 first, __m256 second, __m256i fields) {
  const __m256 lower = _mm256_permutevar8x32_ps(first, fields);
  if constexpr (Bits < 4) return lower;
  const __m256 upper = _mm256_permutevar8x32_ps(second, fields);
  return _mm256_blendv_ps(lower, upper, _mm256_castsi256_ps(_mm256_slli_epi32(fields, 28)));
}

template <int Bits, DType D, int Batch>
void multiply(const RowFieldsPart& part, const float* x, int64_t x_stride, float* sums) {
  constexpr int kRows = Batch == 1 ? 2 : 1;
  for (int64_t row = 0; row < 16; row += kRows) {
    __m256 acc[kRows * Batch * 2], first[kRows], second[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows * Batch * 2; ++i) acc[i] = _mm256_setzero_ps();
    for_steps<Line, Bits, kRows>(
        part, row, x,
        [&](int64_t group) __attribute__((always_inline)) {
#pragma GCC unroll 2
          for (int k = 0; k < kRows; ++k) {
            first[k] = words_of<Bits, D>(part, group * 16 + row + k, 0);
            if (Bits == 4) second[k] = words_of<Bits, D>(part, group * 16 + row + k, 8);
          }
        },
        [&](int k, const Line& line, const float* columns) __attribute__((always_inline)) {
          const __m256 left = look_up<Bits>(first[k], second[k], line.low);
          const __m256 right = look_up<Bits>(first[k], second[k], line.high);
#pragma GCC unroll 4
          for (int b = 0; b < Batch; ++b) {
            __m256* own = acc + (k * Batch + b) * 2;
            own[0] = _mm256_fmadd_ps(left, _mm256_loadu_ps(columns + b * x_stride), own[0]);
            own[1] = _mm256_fmadd_ps(right, _mm256_loadu_ps(columns + b * x_stride + 8), own[1]);
          }
        },
        [](int64_t) {});
#pragma GCC unroll 2
    for (int k = 0; k < kRows; ++k)
#pragma GCC unroll 4
      for (int b = 0; b < Batch; ++b)
        sums[b * 16 + row + k] += sum_of(_mm256_add_ps(acc[(k * Batch + b) * 2], acc[(k * Batch + b) * 2 + 1]));
  }
}

// The lowest bytes, added to 2^23.
TERSELY_INLINE __m256 integers_of(__m256i fields) {
  const __m256i bytes = _mm256_and_si256(fields, _mm256_set1_epi32(255));
  return _mm256_castsi256_ps(_mm256_or_si256(bytes, _mm256_set1_epi32(kIntegerBits)));
}

template <DType D, int Batch>
void multiply_bytes(const RowFieldsPart& part, const float* x, int64_t x_stride, float* sums) {
  constexpr bool kWords = D != DType::kFloat32;
  constexpr int kRows = Batch == 1 ? 2 : 1;
  for (int64_t row = 0; row < 16; row += kRows) {
    __m256 acc[kRows * Batch * 2], total[kRows * Batch], zero[kRows], scale[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows * Batch * 2; ++i) acc[i] = _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < kRows * Batch; ++i) total[i] = _mm256_setzero_ps();
    for_steps<Line, 8, kRows>(
        part, row, x,
        [&](int64_t group) __attribute__((always_inline)) {
#pragma GCC unroll 2
          for (int k = 0; k < kRows; ++k) {
            zero[k] = _mm256_set1_ps(part.zeros[group * 16 + row + k] + 0x1p23F);
            scale[k] = _mm256_broadcast_ss(part.scales + group * 16 + row + k);
          }
        },
        [&](int k, const Line& line, const float* columns) __attribute__((always_inline)) {
          __m256 left = _mm256_sub_ps(integers_of(line.low), zero[k]),
                 right = _mm256_sub_ps(integers_of(line.high), zero[k]);
          if constexpr (kWords) {
            left = as_read<D>(_mm256_mul_ps(left, scale[k]));
            right = as_read<D>(_mm256_mul_ps(right, scale[k]));
          }
#pragma GCC unroll 4
          for (int b = 0; b < Batch; ++b) {
            __m256* own = acc + (k * Batch + b) * 2;
            own[0] = _mm256_fmadd_ps(left, _mm256_loadu_ps(columns + b * x_stride), own[0]);
            own[1] = _mm256_fmadd_ps(right, _mm256_loadu_ps(columns + b * x_stride + 8), own[1]);
          }
        },
        [&](int64_t) __attribute__((always_inline)) {
          if constexpr (kWords) return;
#pragma GCC unroll 4
          for (int i = 0; i < kRows * Batch; ++i) {
            total[i] = _mm256_fmadd_ps(_mm256_add_ps(acc[2 * i], acc[2 * i + 1]), scale[i / Batch], total[i]);
            acc[2 * i] = acc[2 * i + 1] = _mm256_setzero_ps();
          }
        });
#pragma GCC unroll 4
    for (int i = 0; i < kRows * Batch; ++i) {
      const __m256 all = kWords ? _mm256_add_ps(acc[2 * i], acc[2 * i + 1]) : total[i];
      sums[i % Batch * 16 + row + i / Batch] += sum_of(all);
    }
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

void fill_avx2_lines(KernelTable& table) {
  fill_row_fields<Kernels>(table);
  table.expand_row_fields = expand_row_fields;
}

}  // namespace tersely
