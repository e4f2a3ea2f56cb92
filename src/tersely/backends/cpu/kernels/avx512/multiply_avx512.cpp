// AVX-512 kernels over decoded weights: transposes to rows, blocked products, widening, and coding a group of symbols.
#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// 16 x 16 dwords: v[column] of 16 rows becomes v[row] of 16 columns.
TERSELY_INLINE void transpose16(__m512i (&v)[16]) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int half = 0; half < 16; half += 8)
    for (int i = 0; i < 4; ++i) {
      a[half + i] = _mm512_shuffle_i32x4(b[half + i], b[half + 4 + i], 0x88);
      a[half + 4 + i] = _mm512_shuffle_i32x4(b[half + i], b[half + 4 + i], 0xDD);
    }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88);
    v[8 + i] = _mm512_shuffle_i32x4(a[i], a[8 + i], 0xDD);
    v[4 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0x88);
    v[12 + i] = _mm512_shuffle_i32x4(a[4 + i], a[12 + i], 0xDD);
  }
}

// One stored vector to 16 rows of a dword each: float16 to column pairs, float8 to column quads.
template <DType D>
TERSELY_INLINE __m512i rows_of_dwords(__m512i v) {
  if constexpr (D == DType::kFloat16) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(v));
    const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(v, 1));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  } else if constexpr (kVectors<D> == 1) {
    alignas(64) static constexpr uint8_t kIndex[64] = {0,  16, 32, 48, 1,  17, 33, 49, 2,  18, 34, 50, 3,  19, 35, 51,
                                                       4,  20, 36, 52, 5,  21, 37, 53, 6,  22, 38, 54, 7,  23, 39, 55,
                                                       8,  24, 40, 56, 9,  25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59,
                                                       12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63};
    return _mm512_permutexvar_epi8(_mm512_load_si512(kIndex), v);
  } else {
    return v;
  }
}

template <DType D>
void store_typed(const uint8_t* words, int64_t rows, int64_t columns, uint8_t* out, int64_t row_stride) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  constexpr int64_t kColumns = 64 / kWordBytes;  // columns of 16 vectors
  for (int64_t column = 0; column < columns; column += kColumns) {
    const int64_t left = columns - column;
    __m512i v[16];
    if (left >= kColumns) {
      for (int i = 0; i < 16; ++i) v[i] = rows_of_dwords<D>(load512(words + column * 16 * kWordBytes + i * 64));
    } else {
      const int64_t vectors = (left + 3) / 4 * kVectors<D>;
      for (int i = 0; i < 16; ++i)
        v[i] = i < vectors ? rows_of_dwords<D>(load512(words + column * 16 * kWordBytes + i * 64))
                           : _mm512_setzero_si512();
    }
    transpose16(v);
    uint8_t* to = out + column * kWordBytes;
    if (left >= kColumns && rows == 16) {
#pragma GCC unroll 16
      for (int row = 0; row < 16; ++row) _mm512_storeu_si512(to + row * row_stride, v[row]);
    } else {
      const __mmask64 mask = left >= kColumns ? ~__mmask64{0} : (__mmask64{1} << (left * kWordBytes)) - 1;
#pragma GCC unroll 16
      for (int row = 0; row < 16; ++row)
        if (row < rows) _mm512_mask_storeu_epi8(to + row * row_stride, mask, v[row]);
    }
  }
}

void store_rows(DType dtype, const void* words, int64_t rows, int64_t columns, uint8_t* out, int64_t row_stride) {
  const auto* in = static_cast<const uint8_t*>(words);
  switch (dtype) {
    case DType::kFloat32:
      return store_typed<DType::kFloat32>(in, rows, columns, out, row_stride);
    case DType::kBfloat16:
      return store_typed<DType::kBfloat16>(in, rows, columns, out, row_stride);
    case DType::kFloat16:
      return store_typed<DType::kFloat16>(in, rows, columns, out, row_stride);
    default:
      return store_typed<DType::kFloat8E4M3>(in, rows, columns, out, row_stride);
  }
}

template <int Panels, int Block>
void multiply_block(const float* w, int64_t panel_stride, const float* x, int64_t columns, float* y,
                    int64_t y_panel_stride) {
  __m512 acc[Panels][Block];
#pragma GCC unroll 2
  for (int p = 0; p < Panels; ++p)
#pragma GCC unroll 12
    for (int b = 0; b < Block; ++b) acc[p][b] = _mm512_loadu_ps(y + p * y_panel_stride + b * 16);
  for (int64_t column = 0; column < columns; ++column) {
    __m512 weights[Panels];
#pragma GCC unroll 2
    for (int p = 0; p < Panels; ++p) weights[p] = _mm512_loadu_ps(w + p * panel_stride + column * 16);
#pragma GCC unroll 12
    for (int b = 0; b < Block; ++b) {
      const __m512 value = _mm512_set1_ps(x[column * Block + b]);
#pragma GCC unroll 2
      for (int p = 0; p < Panels; ++p) acc[p][b] = _mm512_fmadd_ps(weights[p], value, acc[p][b]);
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < Panels; ++p)
#pragma GCC unroll 12
    for (int b = 0; b < Block; ++b) _mm512_storeu_ps(y + p * y_panel_stride + b * 16, acc[p][b]);
}

void multiply_floats(const float* w, int64_t panel_stride, int panels, const float* x, int64_t columns, int batch_block,
                     float* y, int64_t y_panel_stride) {
  switch (panels * 100 + batch_block) {
    case 104:
      return multiply_block<1, 4>(w, panel_stride, x, columns, y, y_panel_stride);
    case 108:
      return multiply_block<1, 8>(w, panel_stride, x, columns, y, y_panel_stride);
    case 112:
      return multiply_block<1, 12>(w, panel_stride, x, columns, y, y_panel_stride);
    case 204:
      return multiply_block<2, 4>(w, panel_stride, x, columns, y, y_panel_stride);
    case 208:
      return multiply_block<2, 8>(w, panel_stride, x, columns, y, y_panel_stride);
    default:
      return multiply_block<2, 12>(w, panel_stride, x, columns, y, y_panel_stride);
  }
}

template <int Batch>
void multiply_rows_block(const float* w, int64_t w_stride, const float* x, int64_t columns, float* y,
                         int64_t y_stride) {
  for (int64_t column = 0; column < columns; column += 32) {
    const int64_t left = columns - column;
    const __mmask16 m0 = left >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1);
    const __mmask16 m1 = left >= 32 ? 0xFFFF : left > 16 ? static_cast<__mmask16>((1u << (left - 16)) - 1) : 0;
    __m512 acc[Batch][2];
    for (int b = 0; b < Batch; ++b) {
      acc[b][0] = _mm512_maskz_loadu_ps(m0, y + b * y_stride + column);
      acc[b][1] = _mm512_maskz_loadu_ps(m1, y + b * y_stride + column + 16);
    }
#pragma GCC unroll 16
    for (int row = 0; row < 16; ++row) {
      const __m512 w0 = _mm512_maskz_loadu_ps(m0, w + row * w_stride + column);
      const __m512 w1 = _mm512_maskz_loadu_ps(m1, w + row * w_stride + column + 16);
      for (int b = 0; b < Batch; ++b) {
        const __m512 value = _mm512_set1_ps(x[b * 16 + row]);
        acc[b][0] = _mm512_fmadd_ps(w0, value, acc[b][0]);
        acc[b][1] = _mm512_fmadd_ps(w1, value, acc[b][1]);
      }
    }
    for (int b = 0; b < Batch; ++b) {
      _mm512_mask_storeu_ps(y + b * y_stride + column, m0, acc[b][0]);
      _mm512_mask_storeu_ps(y + b * y_stride + column + 16, m1, acc[b][1]);
    }
  }
}

void multiply_rows(const float* w, int64_t w_stride, const float* x, int64_t batch, int64_t columns, float* y,
                   int64_t y_stride) {
  int64_t b = 0;
  for (; b + 8 <= batch; b += 8) multiply_rows_block<8>(w, w_stride, x + b * 16, columns, y + b * y_stride, y_stride);
  for (; b + 2 <= batch; b += 2) multiply_rows_block<2>(w, w_stride, x + b * 16, columns, y + b * y_stride, y_stride);
  for (; b < batch; ++b) multiply_rows_block<1>(w, w_stride, x + b * 16, columns, y + b * y_stride, y_stride);
}

// float8 e4m3 in the low bytes of 16 words: as float16 it is 2^-8 of its value, NaN apart.
TERSELY_INLINE __m512 widen_e4m3(__m128i bytes) {
  const __m256i words = _mm256_cvtepu8_epi16(bytes);
  const __m256i magnitude = _mm256_and_si256(words, _mm256_set1_epi16(0x7F));
  const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(words, _mm256_set1_epi16(0x80)), 8);
  const __mmask16 nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7F));
  __m512 value = _mm512_cvtph_ps(_mm256_or_si256(sign, _mm256_slli_epi16(magnitude, 7)));
  value = _mm512_mul_ps(value, _mm512_set1_ps(256.0f));
  return _mm512_mask_mov_ps(value, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000)));
}
TERSELY_INLINE __m512 widen_e5m2(__m128i bytes) {
  return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(bytes), 8));
}

TERSELY_INLINE __m512 widen16(DType dtype, const uint8_t* at) {
  switch (dtype) {
    case DType::kFloat32:
      return _mm512_loadu_ps(at);
    case DType::kBfloat16:
      return _mm512_castsi512_ps(
          _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at))), 16));
    case DType::kFloat16:
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    case DType::kFloat8E4M3:
      return widen_e4m3(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
    default:
      return widen_e5m2(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  }
}

void widen_words(DType dtype, const void* words, int64_t count, float* out) {
  const int word_bytes = kFields[static_cast<int>(dtype)].word_bytes;
  const auto* at = static_cast<const uint8_t*>(words);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) _mm512_storeu_ps(out + i, widen16(dtype, at + i * word_bytes));
  if (i < count) {
    uint8_t last[64] = {};
    __builtin_memcpy(last, at + i * word_bytes, static_cast<size_t>((count - i) * word_bytes));
    _mm512_mask_storeu_ps(out + i, static_cast<__mmask16>((1u << (count - i)) - 1), widen16(dtype, last));
  }
}

template <DType D>
void dense_typed(const uint8_t* words, int64_t chunks, const float* x, float* sums) {
  __m512 acc[4];
  for (auto& sum : acc) sum = _mm512_setzero_ps();
  for (int64_t j = 0; j < chunks; ++j) {
    __m512i v[kVectors<D>];
    __m512 f[4];
    for (int i = 0; i < kVectors<D>; ++i) {
      v[i] = load512(words + (j * kVectors<D> + i) * 64);
      prefetch_stream(v[i], words + (j * kVectors<D> + i) * 64);
    }
    chunk_floats<D>(v, f);
    for (int i = 0; i < 4; ++i) acc[i] = _mm512_fmadd_ps(f[i], _mm512_set1_ps(x[j * 4 + i]), acc[i]);
  }
  const __m512 sum = _mm512_add_ps(_mm512_add_ps(acc[0], acc[1]), _mm512_add_ps(acc[2], acc[3]));
  _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_loadu_ps(sums), sum));
}

void dense_product(DType dtype, const void* words, int64_t chunks, const float* x, float* sums) {
  const auto* in = static_cast<const uint8_t*>(words);
  switch (dtype) {
    case DType::kFloat32:
      return dense_typed<DType::kFloat32>(in, chunks, x, sums);
    case DType::kBfloat16:
      return dense_typed<DType::kBfloat16>(in, chunks, x, sums);
    case DType::kFloat16:
      return dense_typed<DType::kFloat16>(in, chunks, x, sums);
    case DType::kFloat8E4M3:
      return dense_typed<DType::kFloat8E4M3>(in, chunks, x, sums);
    default:
      return dense_typed<DType::kFloat8E5M2>(in, chunks, x, sums);
  }
}

int64_t code_group(const uint8_t* symbols, const CodeLevel& level, uint8_t* fields, uint8_t* survivors) {
  const __m512i s = load512(symbols);
  const uint8_t* ranks = level.ranks;
  const __m512i low = _mm512_permutex2var_epi8(load512(ranks), s, load512(ranks + 64));
  const __m512i high = _mm512_permutex2var_epi8(load512(ranks + 128), s, load512(ranks + 192));
  const __m512i rank = _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(s), high);
  const __m512i survivor = _mm512_set1_epi8(static_cast<char>(level.own));
  const __m512i field =
      _mm512_min_epu8(_mm512_subs_epu8(rank, _mm512_set1_epi8(static_cast<char>(level.start))), survivor);
  const uint64_t mask = _mm512_cmpeq_epi8_mask(field, survivor);
  _mm512_storeu_si512(fields, field);
  // Compress in a register: the form that stores is microcoded on Zen 4.
  _mm512_storeu_si512(survivors, _mm512_maskz_compress_epi8(mask, s));
  return static_cast<int64_t>(_mm_popcnt_u64(mask));
}

uint64_t read_stream(const uint8_t* bytes, int64_t count_bytes) {
  __m512i sums[4];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  for (int64_t at = 0; at + 256 <= count_bytes; at += 256)
    for (int k = 0; k < 4; ++k) {
      __m512i v = load512(bytes + at + k * 64);
      prefetch_stream(v, bytes + at + k * 64);
      sums[k] = _mm512_xor_si512(sums[k], v);
    }
  const __m512i sum = _mm512_xor_si512(_mm512_xor_si512(sums[0], sums[1]), _mm512_xor_si512(sums[2], sums[3]));
  uint64_t words[8], total = 0;
  _mm512_storeu_si512(words, sum);
  for (uint64_t word : words) total ^= word;
  return total;
}

}  // namespace

void fill_avx512_multiply(KernelTable& table) {
  table.store_rows = store_rows;
  table.multiply_floats = multiply_floats;
  table.multiply_rows = multiply_rows;
  table.widen_words = widen_words;
  table.dense_product = dense_product;
  table.code_group = code_group;
  table.read_stream = read_stream;
}

}  // namespace tersely
