// Encoding under AVX2: tiles split by transposes in registers, symbols to fields by comparison with the level's table.
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/avx2/survivors.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

TERSELY_INLINE __m256i unpack_low(__m256i a, __m256i b, int item_bytes) {
  return item_bytes == 1   ? _mm256_unpacklo_epi8(a, b)
         : item_bytes == 2 ? _mm256_unpacklo_epi16(a, b)
                           : _mm256_unpacklo_epi32(a, b);
}
TERSELY_INLINE __m256i unpack_high(__m256i a, __m256i b, int item_bytes) {
  return item_bytes == 1   ? _mm256_unpackhi_epi8(a, b)
         : item_bytes == 2 ? _mm256_unpackhi_epi16(a, b)
                           : _mm256_unpackhi_epi32(a, b);
}

// Transposes N x N items of 16 / N bytes in each half: v[row] of columns becomes v[column] of rows. Each round rotates
// the bits of an item's position (register, position) by one; log2 N rounds swap register and position.
template <int N>
TERSELY_INLINE void transpose(__m256i (&v)[N]) {
#pragma GCC unroll 4
  for (int round = 1; round < N; round *= 2) {
    __m256i next[N];
#pragma GCC unroll 8
    for (int i = 0; i < N / 2; ++i) {
      next[2 * i] = unpack_low(v[i], v[i + N / 2], 16 / N);
      next[2 * i + 1] = unpack_high(v[i], v[i + N / 2], 16 / N);
    }
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) v[i] = next[i];
  }
}

TERSELY_INLINE void store_halves(void* low, void* high, __m256i v) {
  _mm_storeu_si128(static_cast<__m128i*>(low), _mm256_castsi256_si128(v));
  _mm_storeu_si128(static_cast<__m128i*>(high), _mm256_extracti128_si256(v, 1));
}

// Heads of two times 8 weights in each half to their symbols and rotated bytes, in chunks `low` and `high` at `at`.
TERSELY_INLINE void store_heads(__m256i a, __m256i b, SplitTile& pieces, int low, int high, int at) {
  const __m256i byte = _mm256_set1_epi16(0xFF);
  a = _mm256_or_si256(_mm256_slli_epi16(a, 1), _mm256_srli_epi16(a, 15));
  b = _mm256_or_si256(_mm256_slli_epi16(b, 1), _mm256_srli_epi16(b, 15));
  store_halves(pieces.symbols[low] + at, pieces.symbols[high] + at,
               _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8)));
  store_halves(pieces.bytes[low] + at, pieces.bytes[high] + at,
               _mm256_packus_epi16(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte)));
}

uint32_t split_bfloat16(const uint8_t* words, int64_t row_stride, SplitTile& pieces) {
  for (int four = 0; four < 4; ++four, words += 4 * row_stride)
    for (int part = 0; part < 2; ++part) {  // 16 columns: chunks 4 part, + 1 in the low half, + 2, + 3 in the high one
      __m256i v[4];
      for (int row = 0; row < 4; ++row) v[row] = load256(words + row * row_stride + part * 32);
      transpose(v);
      store_heads(v[0], v[1], pieces, part * 4, part * 4 + 2, four * 16);
      store_heads(v[2], v[3], pieces, part * 4 + 1, part * 4 + 3, four * 16);
    }
  return 0;
}

uint32_t split_float32(const uint8_t* words, int64_t row_stride, SplitTile& pieces) {
  const __m256i lower = _mm256_set1_epi32(0xFFFF);
  __m256i any = _mm256_setzero_si256();
  for (int four = 0; four < 4; ++four, words += 4 * row_stride)
    for (int part = 0; part < 4; ++part) {  // 8 columns: chunk 2 part in the low half, the next one in the high one
      __m256i v[4], head[4], tail[4];
      for (int row = 0; row < 4; ++row) v[row] = load256(words + row * row_stride + part * 32);
      transpose(v);
      for (int column = 0; column < 4; ++column) {
        head[column] = _mm256_srli_epi32(v[column], 16);
        tail[column] = _mm256_and_si256(v[column], lower);
        any = _mm256_or_si256(any, tail[column]);
      }
      store_heads(_mm256_packus_epi32(head[0], head[1]), _mm256_packus_epi32(head[2], head[3]), pieces, part * 2,
                  part * 2 + 1, four * 16);
      for (int pair = 0; pair < 2; ++pair)
        store_halves(pieces.tails[part * 2] + pair * 32 + four * 8, pieces.tails[part * 2 + 1] + pair * 32 + four * 8,
                     _mm256_packus_epi32(tail[pair * 2], tail[pair * 2 + 1]));
    }
  alignas(32) uint32_t bits[8];
  store256(bits, any);
  return bits[0] | bits[1] | bits[2] | bits[3] | bits[4] | bits[5] | bits[6] | bits[7];
}

uint32_t split_float16(const uint8_t* words, int64_t row_stride, SplitTile& pieces) {
  const __m256i byte = _mm256_set1_epi16(0xFF), symbol = _mm256_set1_epi16(31), mantissa = _mm256_set1_epi16(3);
  for (int eight = 0; eight < 2; ++eight, words += 8 * row_stride)
    for (int part = 0; part < 2; ++part) {
      __m256i v[8];
      for (int row = 0; row < 8; ++row) v[row] = load256(words + row * row_stride + part * 32);
      transpose(v);
      for (int chunk = 0; chunk < 2; ++chunk)
        for (int column = 0; column < 2; ++column) {  // its 8 rows and those of column + 2 lie side by side
          const __m256i a = v[chunk * 4 + column], b = v[chunk * 4 + column + 2];
          const int low = part * 4 + chunk, high = low + 2, at = (column * 2 + eight) * 16;
          store_halves(pieces.symbols[low] + at, pieces.symbols[high] + at,
                       _mm256_packus_epi16(_mm256_and_si256(_mm256_srli_epi16(a, 10), symbol),
                                           _mm256_and_si256(_mm256_srli_epi16(b, 10), symbol)));
          store_halves(pieces.bytes[low] + at, pieces.bytes[high] + at,
                       _mm256_packus_epi16(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte)));
          const __m256i odd_a = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 8), mantissa),
                                                _mm256_slli_epi16(_mm256_srli_epi16(a, 15), 2));
          const __m256i odd_b = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(b, 8), mantissa),
                                                _mm256_slli_epi16(_mm256_srli_epi16(b, 15), 2));
          store_halves(pieces.odd[low] + at, pieces.odd[high] + at, _mm256_packus_epi16(odd_a, odd_b));
        }
    }
  return 0;
}

template <DType D>
uint32_t split_float8(const uint8_t* words, int64_t row_stride, SplitTile& pieces) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  const __m256i symbol = _mm256_set1_epi8((1 << f.symbol_bits) - 1);
  const __m256i mantissa = _mm256_set1_epi8((1 << f.symbol_shift) - 1), one = _mm256_set1_epi8(1);
  __m256i v[16];
  for (int row = 0; row < 16; ++row) v[row] = load256(words + row * row_stride);
  transpose(v);
  for (int column = 0; column < 16; ++column) {
    const int low = column / 4, high = low + 4, at = column % 4 * 16;
    store_halves(pieces.symbols[low] + at, pieces.symbols[high] + at,
                 _mm256_and_si256(_mm256_srli_epi16(v[column], f.symbol_shift), symbol));
    const __m256i sign = _mm256_and_si256(_mm256_srli_epi16(v[column], 7), one);
    store_halves(pieces.odd[low] + at, pieces.odd[high] + at,
                 _mm256_or_si256(_mm256_and_si256(v[column], mantissa), _mm256_slli_epi16(sign, f.symbol_shift)));
  }
  return 0;
}

uint32_t split_words(DType dtype, const uint8_t* words, int64_t row_stride, SplitTile& pieces) {
  switch (dtype) {
    case DType::kFloat32:
      return split_float32(words, row_stride, pieces);
    case DType::kBfloat16:
      return split_bfloat16(words, row_stride, pieces);
    case DType::kFloat16:
      return split_float16(words, row_stride, pieces);
    case DType::kFloat8E4M3:
      return split_float8<DType::kFloat8E4M3>(words, row_stride, pieces);
    case DType::kIndex:
      return split_float8<DType::kIndex>(words, row_stride, pieces);
    default:
      return split_float8<DType::kFloat8E5M2>(words, row_stride, pieces);
  }
}

// Downward, so that the first of two equal symbols of a table counts, as it does by rank.
int64_t code_group(const uint8_t* symbols, const CodeLevel& level, uint8_t* fields, uint8_t* survivors) {
  const __m256i low = load256(symbols), high = load256(symbols + 32);
  const __m256i survivor = _mm256_set1_epi8(static_cast<char>(level.own));
  __m256i field_low = survivor, field_high = survivor;
  for (int i = level.own - 1; i >= 0; --i) {
    const __m256i symbol = _mm256_set1_epi8(static_cast<char>(level.table[i]));
    const __m256i field = _mm256_set1_epi8(static_cast<char>(i));
    field_low = _mm256_blendv_epi8(field_low, field, _mm256_cmpeq_epi8(low, symbol));
    field_high = _mm256_blendv_epi8(field_high, field, _mm256_cmpeq_epi8(high, symbol));
  }
  store256(fields, field_low);
  store256(fields + 32, field_high);
  const uint64_t mask = byte_mask(_mm256_cmpeq_epi8(field_low, survivor), _mm256_cmpeq_epi8(field_high, survivor));
  if (mask == 0) return 0;
  return compress_bytes(symbols, mask, survivors);
}

}  // namespace

void fill_avx2_encode(KernelTable& table) {
  table.split_words = split_words;
  table.code_group = code_group;
}

}  // namespace tersely
