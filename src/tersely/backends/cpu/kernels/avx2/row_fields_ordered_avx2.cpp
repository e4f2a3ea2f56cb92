// Row fields of 4 bits under AVX2, for groups of whole lines: words are looked up byte by byte, 32 numbers at once.
//
// per half line: the low or high nibbles of its bytes, one vpshufb for each byte of a word, and unpacking puts the
// bytes together in the registers they are in. That leaves 8 words in an order of their own in each, so x is put in
// that order first, once for all rows: nothing crosses lanes. MEASURED on Zen 3, against two vpermps and a blend for
// each 8 numbers: see docs/explanation/kernels.md.
#include "tersely/backends/cpu/kernels/avx2/row_field_words.hpp"

namespace tersely {
namespace {

// Byte k of dword d of half a line holds columns 32 k + d (its low nibble) and 32 k + 16 + d, counted from the half's
// first: what unpacking leaves, as k and d.
struct Order {
  uint8_t columns[32];
};
constexpr Order order_of(DType dtype) {
  Order order{};
  for (int i = 0; i < 32; ++i) {
    const int lane = i % 8 / 4, inside = i % 4, v = i / 8;
    int d = 0, k = 0;
    if (dtype == DType::kFloat32) {  // dword v of both lanes, all k
      d = 4 * lane + v;
      k = inside;
    } else if (dtype == DType::kBfloat16) {  // dwords 2 (v / 2) and the next one of both lanes, even or odd k
      d = 4 * lane + v / 2 * 2 + inside / 2;
      k = inside % 2 * 2 + v % 2;
    } else {  // the same dwords of one lane after the other, all k
      d = v % 2 * 4 + v / 2 * 2 + lane;
      k = inside;
    }
    order.columns[i] = static_cast<uint8_t>(32 * k + d);
  }
  return order;
}

template <DType D>
void order(const float* x, int64_t columns, float* out) {
  static constexpr Order kOrder = order_of(D);
  for (int64_t line = 0; line < columns; line += line_columns(4))
    for (int half = 0; half < 2; ++half)
      for (int high = 0; high < 2; ++high)
        for (int i = 0; i < 32; ++i) *out++ = x[line + 8 * half + 16 * high + kOrder.columns[i]];
}

void order_x(DType dtype, const float* x, int64_t columns, float* out) {
  if (dtype == DType::kFloat32) return order<DType::kFloat32>(x, columns, out);
  if (dtype == DType::kBfloat16) return order<DType::kBfloat16>(x, columns, out);
  order<DType::kFloat16>(x, columns, out);
}

// Sixteen dwords as four tables of their bytes, the lowest first, in both lanes.
TERSELY_INLINE void byte_tables(__m256i first, __m256i second, __m256i (&tables)[4]) {
  const __m256i by_byte = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9,
                                           13, 2, 6, 10, 14, 3, 7, 11, 15);
  first = _mm256_shuffle_epi8(first, by_byte);
  second = _mm256_shuffle_epi8(second, by_byte);
  const __m128i a = _mm256_castsi256_si128(first), b = _mm256_extracti128_si256(first, 1);
  const __m128i c = _mm256_castsi256_si128(second), d = _mm256_extracti128_si256(second, 1);
  const __m128i low_ab = _mm_unpacklo_epi32(a, b), low_cd = _mm_unpacklo_epi32(c, d);
  const __m128i high_ab = _mm_unpackhi_epi32(a, b), high_cd = _mm_unpackhi_epi32(c, d);
  tables[0] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(low_ab, low_cd));
  tables[1] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(low_ab, low_cd));
  tables[2] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(high_ab, high_cd));
  tables[3] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(high_ab, high_cd));
}

// The words of a dtype, 16 bits of them in the upper half, that floats are.
template <DType D>
TERSELY_INLINE __m256i words_in_dwords(__m256 floats) {
  if constexpr (D == DType::kFloat16)
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm256_cvtps_ph(floats, kNearest)), 16);
  return _mm256_castps_si256(floats);
}

// Calls take(v, eight weights) for 32 numbers, bytes below 16.
template <DType D, class Take>
TERSELY_INLINE void for_weights(const __m256i (&tables)[4], __m256i numbers, Take&& take) {
  const __m256i third = _mm256_shuffle_epi8(tables[2], numbers), fourth = _mm256_shuffle_epi8(tables[3], numbers);
  const __m256i upper[2] = {_mm256_unpacklo_epi8(third, fourth), _mm256_unpackhi_epi8(third, fourth)};
  if constexpr (D == DType::kFloat32) {
    const __m256i first = _mm256_shuffle_epi8(tables[0], numbers), second = _mm256_shuffle_epi8(tables[1], numbers);
    const __m256i lower[2] = {_mm256_unpacklo_epi8(first, second), _mm256_unpackhi_epi8(first, second)};
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      take(2 * i, _mm256_castsi256_ps(_mm256_unpacklo_epi16(lower[i], upper[i])));
      take(2 * i + 1, _mm256_castsi256_ps(_mm256_unpackhi_epi16(lower[i], upper[i])));
    }
  } else if constexpr (D == DType::kBfloat16) {
    const __m256i odd = _mm256_set1_epi32(static_cast<int>(0xFFFF0000));
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      take(2 * i, _mm256_castsi256_ps(_mm256_slli_epi32(upper[i], 16)));
      take(2 * i + 1, _mm256_castsi256_ps(_mm256_and_si256(upper[i], odd)));
    }
  } else {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      take(2 * i, _mm256_cvtph_ps(_mm256_castsi256_si128(upper[i])));
      take(2 * i + 1, _mm256_cvtph_ps(_mm256_extracti128_si256(upper[i], 1)));
    }
  }
}

template <DType D, int Batch>
void multiply(const RowFieldsPart& part, const float* x, int64_t x_stride, float* sums) {
  constexpr int64_t kSteps = line_steps(4);
  constexpr int kSums = Batch == 1 ? 4 : 2;  // enough that no FMA waits for the one before
  const int64_t lines_per_group = part.group_steps / kSteps;
  const __m256i nibbles = _mm256_set1_epi8(15);
  for (int64_t row = 0; row < 16; ++row) {
    __m256 acc[Batch * kSums];
#pragma GCC unroll 8
    for (int i = 0; i < Batch * kSums; ++i) acc[i] = _mm256_setzero_ps();
    const uint8_t* at = part.lines + row * part.row_bytes;
    const float* columns = x;
    for (int64_t line = 0, group = 0; line < part.lines_per_row; ++group) {
      const int64_t left = part.lines_per_row - line, count = left < lines_per_group ? left : lines_per_group;
      __m256i tables[4];
      byte_tables(words_in_dwords<D>(words_of<4, D>(part, group * 16 + row, 0)),
                  words_in_dwords<D>(words_of<4, D>(part, group * 16 + row, 8)), tables);
      for (int64_t i = 0; i < count; ++i, at += kLineBytes) {
        __builtin_prefetch(at + part.row_bytes);
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const __m256i bytes = load256(at + half * 32);
#pragma GCC unroll 2
          for (int high = 0; high < 2; ++high, columns += 32) {
            const __m256i numbers = _mm256_and_si256(high == 0 ? bytes : _mm256_srli_epi32(bytes, 4), nibbles);
            for_weights<D>(tables, numbers, [&](int v, __m256 weights) __attribute__((always_inline)) {
#pragma GCC unroll 4
              for (int b = 0; b < Batch; ++b) {
                __m256& sum = acc[b * kSums + v % kSums];
                sum = _mm256_fmadd_ps(weights, _mm256_loadu_ps(columns + b * x_stride + v * 8), sum);
              }
            });
          }
        }
      }
      line += count;
    }
#pragma GCC unroll 4
    for (int b = 0; b < Batch; ++b) {
      __m256 sum = _mm256_add_ps(acc[b * kSums], acc[b * kSums + 1]);
      if constexpr (kSums == 4) sum = _mm256_add_ps(sum, _mm256_add_ps(acc[b * kSums + 2], acc[b * kSums + 3]));
      sums[b * 16 + row] += sum_of(sum);
    }
  }
}

template <DType D>
void multiply_ordered(const RowFieldsPart& part, const float* x, int64_t x_stride, int batch, float* sums) {
  if (batch == 1) return multiply<D, 1>(part, x, x_stride, sums);
  if (batch == 2) return multiply<D, 2>(part, x, x_stride, sums);
  multiply<D, 4>(part, x, x_stride, sums);
}

}  // namespace

void fill_avx2_ordered(KernelTable& table) {
  table.multiply_ordered[0] = multiply_ordered<DType::kFloat32>;
  table.multiply_ordered[1] = multiply_ordered<DType::kBfloat16>;
  table.multiply_ordered[2] = multiply_ordered<DType::kFloat16>;
  table.order_x = order_x;
}

}  // namespace tersely
