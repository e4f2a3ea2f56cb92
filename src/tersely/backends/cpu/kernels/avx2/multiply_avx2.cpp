// AVX2 kernels over decoded weights: transposes to rows, blocked products, widening.
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// 8 x 8 dwords: v[column] of 8 rows becomes v[row] of 8 columns.
TERSELY_INLINE void transpose8(__m256i (&v)[8]) {
  __m256i a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2x128_si256(b[i], b[4 + i], 0x20);
    v[4 + i] = _mm256_permute2x128_si256(b[i], b[4 + i], 0x31);
  }
}

TERSELY_INLINE __m128i load128(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
TERSELY_INLINE __m256i join128(__m128i low, __m128i high) { return _mm256_set_m128i(high, low); }

// Rows 8 half .. 8 half + 7 of dword column `column` (a float32, a pair of halves, four float8) of words in vector
// order.
template <DType D>
TERSELY_INLINE __m256i row_dwords(const uint8_t* words, int64_t column, int half) {
  if constexpr (D == DType::kFloat32 || D == DType::kBfloat16) {
    return load256(words + column * 64 + half * 32);
  } else if constexpr (D == DType::kFloat16) {
    const __m128i first = load128(words + column * 64 + half * 16);
    const __m128i second = load128(words + column * 64 + 32 + half * 16);
    return join128(_mm_unpacklo_epi16(first, second), _mm_unpackhi_epi16(first, second));
  } else {
    const uint8_t* at = words + column * 64 + half * 8;
    __m128i c[4];
    for (int i = 0; i < 4; ++i) c[i] = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at + i * 16));
    const __m128i low = _mm_unpacklo_epi8(c[0], c[1]), high = _mm_unpacklo_epi8(c[2], c[3]);
    return join128(_mm_unpacklo_epi16(low, high), _mm_unpackhi_epi16(low, high));
  }
}

template <DType D>
void store_typed(const uint8_t* words, int64_t rows, int64_t columns, uint8_t* out, int64_t row_stride) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  constexpr int64_t kPerDword = 4 / kWordBytes;
  const int64_t dwords = (columns + kPerDword - 1) / kPerDword, bytes = columns * kWordBytes;
  for (int64_t first = 0; first < dwords; first += 8) {
    for (int half = 0; half < 2; ++half) {
      __m256i v[8];
      for (int i = 0; i < 8; ++i)
        v[i] = first + i < dwords ? row_dwords<D>(words, first + i, half) : _mm256_setzero_si256();
      transpose8(v);
      const int64_t left = bytes - first * 4;
      for (int row = 0; row < 8 && half * 8 + row < rows; ++row) {
        uint8_t* to = out + (half * 8 + row) * row_stride + first * 4;
        if (left >= 32) {
          store256(to, v[row]);
        } else {
          alignas(32) uint8_t last[32];
          store256(last, v[row]);
          __builtin_memcpy(to, last, static_cast<size_t>(left));
        }
      }
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

// One panel and `Rows` of `Block` batch rows: 2 Rows sums, 2 weights, 1 value of x. Six rows are what 16 registers hold
// and more than the 8 sums that hide the latency of an FMA; four only just hide it.
template <int Rows, int Block>
TERSELY_INLINE void multiply_some(const float* w, const float* x, int64_t columns, float* y) {
  __m256 acc[Rows][2];
#pragma GCC unroll 12
  for (int i = 0; i < 2 * Rows; ++i) acc[i / 2][i % 2] = _mm256_loadu_ps(y + i * 8);
  for (int64_t column = 0; column < columns; ++column) {
    const __m256 low = _mm256_loadu_ps(w + column * 16), high = _mm256_loadu_ps(w + column * 16 + 8);
#pragma GCC unroll 6
    for (int b = 0; b < Rows; ++b) {
      const __m256 value = _mm256_broadcast_ss(x + column * Block + b);
      acc[b][0] = _mm256_fmadd_ps(low, value, acc[b][0]);
      acc[b][1] = _mm256_fmadd_ps(high, value, acc[b][1]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < 2 * Rows; ++i) _mm256_storeu_ps(y + i * 8, acc[i / 2][i % 2]);
}

template <int Rows, int Block>
void multiply_block(const float* w, int64_t panel_stride, int panels, const float* x, int64_t columns, float* y,
                    int64_t y_panel_stride) {
  // 128 columns at a time: their weights stay in the first-level cache for all batch rows of the block.
  for (int64_t first = 0; first < columns; first += 128) {
    const int64_t count = columns - first < 128 ? columns - first : 128;
    for (int panel = 0; panel < panels; ++panel)
#pragma GCC unroll 2
      for (int b = 0; b < Block; b += Rows)
        multiply_some<Rows, Block>(w + panel * panel_stride + first * 16, x + first * Block + b, count,
                                   y + panel * y_panel_stride + b * 16);
  }
}

void multiply_floats(const float* w, int64_t panel_stride, int panels, const float* x, int64_t columns, int batch_block,
                     float* y, int64_t y_panel_stride) {
  switch (batch_block) {
    case 4:
      return multiply_block<4, 4>(w, panel_stride, panels, x, columns, y, y_panel_stride);
    case 8:
      return multiply_block<4, 8>(w, panel_stride, panels, x, columns, y, y_panel_stride);
    default:
      return multiply_block<6, 12>(w, panel_stride, panels, x, columns, y, y_panel_stride);
  }
}

template <int Batch>
void multiply_rows_block(const float* w, int64_t w_stride, const float* x, int64_t columns, float* y,
                         int64_t y_stride) {
  int64_t column = 0;
  for (; column + 16 <= columns; column += 16) {
    __m256 acc[Batch][2];
    for (int b = 0; b < Batch; ++b)
      for (int i = 0; i < 2; ++i) acc[b][i] = _mm256_loadu_ps(y + b * y_stride + column + i * 8);
    for (int row = 0; row < 16; ++row) {
      const __m256 w0 = _mm256_loadu_ps(w + row * w_stride + column);
      const __m256 w1 = _mm256_loadu_ps(w + row * w_stride + column + 8);
      for (int b = 0; b < Batch; ++b) {
        const __m256 value = _mm256_broadcast_ss(x + b * 16 + row);
        acc[b][0] = _mm256_fmadd_ps(w0, value, acc[b][0]);
        acc[b][1] = _mm256_fmadd_ps(w1, value, acc[b][1]);
      }
    }
    for (int b = 0; b < Batch; ++b)
      for (int i = 0; i < 2; ++i) _mm256_storeu_ps(y + b * y_stride + column + i * 8, acc[b][i]);
  }
  for (; column < columns; ++column)
    for (int b = 0; b < Batch; ++b) {
      float sum = y[b * y_stride + column];
      for (int row = 0; row < 16; ++row) sum = __builtin_fmaf(w[row * w_stride + column], x[b * 16 + row], sum);
      y[b * y_stride + column] = sum;
    }
}

void multiply_rows(const float* w, int64_t w_stride, const float* x, int64_t batch, int64_t columns, float* y,
                   int64_t y_stride) {
  int64_t b = 0;
  for (; b + 4 <= batch; b += 4) multiply_rows_block<4>(w, w_stride, x + b * 16, columns, y + b * y_stride, y_stride);
  for (; b < batch; ++b) multiply_rows_block<1>(w, w_stride, x + b * 16, columns, y + b * y_stride, y_stride);
}

TERSELY_INLINE __m256 widen8(DType dtype, const uint8_t* at) {
  switch (dtype) {
    case DType::kFloat32:
      return _mm256_loadu_ps(reinterpret_cast<const float*>(at));
    case DType::kBfloat16:
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(at)), 16));
    case DType::kFloat16:
      return _mm256_cvtph_ps(load128(at));
    case DType::kFloat8E4M3:
      return widen_float8<DType::kFloat8E4M3>(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
    default:
      return widen_float8<DType::kFloat8E5M2>(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  }
}

void widen_words(DType dtype, const void* words, int64_t count, float* out) {
  const int word_bytes = kFields[static_cast<int>(dtype)].word_bytes;
  const auto* at = static_cast<const uint8_t*>(words);
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) _mm256_storeu_ps(out + i, widen8(dtype, at + i * word_bytes));
  if (i < count) {
    uint8_t last[32] = {};
    float values[8];
    __builtin_memcpy(last, at + i * word_bytes, static_cast<size_t>((count - i) * word_bytes));
    _mm256_storeu_ps(values, widen8(dtype, last));
    __builtin_memcpy(out + i, values, static_cast<size_t>(count - i) * 4);
  }
}

template <DType D>
void dense_typed(const uint8_t* words, int64_t chunks, const float* x, float* sums) {
  __m256 acc[2][4];
  for (int i = 0; i < 8; ++i) acc[i / 4][i % 4] = _mm256_setzero_ps();
  for (int64_t j = 0; j < chunks; ++j) {
    __m256i v[kVectors<D>];
    __m256 f[4][2];
    for (int i = 0; i < kVectors<D>; ++i) {
      v[i] = load256(words + (j * kVectors<D> + i) * 32);
      if (i % 2 == 0) prefetch_stream(v[i], words + (j * kVectors<D> + i) * 32);
    }
    chunk_floats<D>(v, f);
    for (int i = 0; i < 4; ++i) {
      const __m256 value = _mm256_broadcast_ss(x + j * 4 + i);
      for (int half = 0; half < 2; ++half) acc[half][i] = _mm256_fmadd_ps(f[i][half], value, acc[half][i]);
    }
  }
  for (int half = 0; half < 2; ++half) {
    const __m256 sum =
        _mm256_add_ps(_mm256_add_ps(acc[half][0], acc[half][1]), _mm256_add_ps(acc[half][2], acc[half][3]));
    _mm256_storeu_ps(sums + half * 8, _mm256_add_ps(_mm256_loadu_ps(sums + half * 8), sum));
  }
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

uint64_t read_stream(const uint8_t* bytes, int64_t count_bytes) {
  __m256i sums[4];
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (int64_t at = 0; at + 128 <= count_bytes; at += 128)
    for (int k = 0; k < 4; ++k) {
      __m256i v = load256(bytes + at + k * 32);
      if (k % 2 == 0) prefetch_stream(v, bytes + at + k * 32);
      sums[k] = _mm256_xor_si256(sums[k], v);
    }
  const __m256i sum = _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
  uint64_t words[4];
  store256(words, sum);
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

}  // namespace

void fill_avx2_multiply(KernelTable& table) {
  table.store_rows = store_rows;
  table.multiply_floats = multiply_floats;
  table.multiply_rows = multiply_rows;
  table.widen_words = widen_words;
  table.dense_product = dense_product;
  table.read_stream = read_stream;
}

}  // namespace tersely
