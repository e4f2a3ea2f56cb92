// Folded distances of 8-bit weights with VNNI, and weights as they are.
//
// a chunk: unfold 64 bytes; bring the four columns of each row together; for each slice of each batch row one
// instruction multiplies all and adds them up.
// MEASURED on Zen 5: to do so in registers, as chunks are decoded, is no faster for one row of x.
#include "tersely/backends/cpu/kernels/avx512/byte_chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/unfold.hpp"

namespace tersely {
namespace {

// Column by column to row by row, 16 rows of four columns.
alignas(64) constexpr uint8_t kRows[64] = {0,  16, 32, 48, 1,  17, 33, 49, 2,  18, 34, 50, 3,  19, 35, 51,
                                           4,  20, 36, 52, 5,  21, 37, 53, 6,  22, 38, 54, 7,  23, 39, 55,
                                           8,  24, 40, 56, 9,  25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59,
                                           12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63};

TERSELY_INLINE __m512i four_columns(const int8_t* x) {
  int four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_set1_epi32(four);
}

// How words become levels, the four columns of a row together.
template <bool Folded>
struct Unfolding {
  __m512i rows, centre, from;
  explicit TERSELY_INLINE Unfolding(uint8_t about)
      : rows(_mm512_load_si512(kRows)),
        centre(_mm512_set1_epi8(static_cast<char>(about))),
        from(_mm512_set1_epi8(static_cast<char>(about + 0x7F))) {}  // 0x7F less a negative word is its size, inverted
  TERSELY_INLINE __m512i levels(__m512i folded) const {
    const __m512i positive = _mm512_add_epi8(folded, centre);
    if constexpr (!Folded) return _mm512_permutexvar_epi8(rows, positive);
    return _mm512_permutexvar_epi8(rows, _mm512_mask_sub_epi8(positive, _mm512_movepi8_mask(folded), from, folded));
  }
};

// Adds a chunk, whose first column is `column` of x, to the sums of `Rows` batch rows.
template <int Slices, int Count>
TERSELY_INLINE void add_chunk(__m512i levels, const SlicedRows<int8_t>& x, int64_t column, __m512i (&sums)[Count]) {
#pragma GCC unroll 12
  for (int i = 0; i < Count; ++i) {
    const int8_t* from = x.x + i / Slices * x.row_stride + i % Slices * x.stride + column;
    sums[i] = _mm512_dpbusd_epi32(sums[i], levels, four_columns(from));
  }
}

// Sums begin where those before ended: of zeros, which all have in common, the compiler makes copies in every chunk.
template <int Count>
TERSELY_INLINE void load_sums(const int32_t* from, __m512i (&sums)[Count]) {
#pragma GCC unroll 12
  for (int i = 0; i < Count; ++i) sums[i] = _mm512_loadu_si512(from + i * 16);
}
template <int Count>
TERSELY_INLINE void store_sums(const __m512i (&sums)[Count], int32_t* to) {
#pragma GCC unroll 12
  for (int i = 0; i < Count; ++i) _mm512_storeu_si512(to + i * 16, sums[i]);
}

// Listed: x says at which of its columns each chunk begins.
template <bool Folded, bool Listed, int Slices, int Rows>
void multiply(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int8_t>& x, int32_t* sums) {
  constexpr int kCount = Slices * Rows, kTurns = kCount <= 4 ? 2 : 1;  // one sum waits for the one before
  const auto column = [&x](int64_t chunk) TERSELY_SINK { return Listed ? int64_t{x.columns[chunk]} : chunk * 4; };
  const Unfolding<Folded> unfolding(centre);
  __m512i own[kCount], other[kCount];
  load_sums(sums, own);
#pragma GCC unroll 12
  for (int i = 0; i < kCount; ++i) other[i] = _mm512_setzero_si512();
  int64_t j = 0;
  for (; j + kTurns <= chunks; j += kTurns) {
    add_chunk<Slices>(unfolding.levels(load512(folded + j * 64)), x, column(j), own);
    if constexpr (kTurns == 2)
      add_chunk<Slices>(unfolding.levels(load512(folded + j * 64 + 64)), x, column(j + 1), other);
  }
  if (j < chunks) add_chunk<Slices>(unfolding.levels(load512(folded + j * 64)), x, column(j), own);
#pragma GCC unroll 12
  for (int i = 0; i < kCount; ++i) own[i] = _mm512_add_epi32(own[i], other[i]);
  store_sums(own, sums);
}

template <bool Folded, bool Listed, int Slices>
void multiply_rows(const uint8_t* folded, int64_t chunks, uint8_t centre, SlicedRows<int8_t> x, int32_t* sums) {
  for (; x.rows >= 4; x.rows -= 4, x.x += 4 * x.row_stride, sums += 4 * Slices * 16)
    multiply<Folded, Listed, Slices, 4>(folded, chunks, centre, x, sums);
  if (x.rows == 3) multiply<Folded, Listed, Slices, 3>(folded, chunks, centre, x, sums);
  if (x.rows == 2) multiply<Folded, Listed, Slices, 2>(folded, chunks, centre, x, sums);
  if (x.rows == 1) multiply<Folded, Listed, Slices, 1>(folded, chunks, centre, x, sums);
}

template <bool Folded>
void multiply_bytes(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int8_t>& x, int32_t* sums) {
  if constexpr (!Folded) {
    if (x.columns != nullptr) {
      if (x.slices == 1) return multiply_rows<false, true, 1>(folded, chunks, centre, x, sums);
      return multiply_rows<false, true, 3>(folded, chunks, centre, x, sums);
    }
  }
  if (x.slices == 1) return multiply_rows<Folded, false, 1>(folded, chunks, centre, x, sums);
  multiply_rows<Folded, false, 3>(folded, chunks, centre, x, sums);
}

// In registers: for one row of x nothing is gained by bytes that go through the cache.
template <int Slices>
void multiply_masked_slices(Cursor& cursor, int64_t chunks, uint8_t centre, const SlicedRows<int8_t>& x,
                            int32_t* sums) {
  const Unfolding<false> unfolding(centre);
  __m512i own[Slices], other[Slices];
  load_sums(sums, own);
#pragma GCC unroll 3
  for (int i = 0; i < Slices; ++i) other[i] = _mm512_setzero_si512();
  for_byte_chunks(cursor, chunks, [&](int64_t j, __m512i bytes, uint64_t) TERSELY_SINK {
    add_chunk<Slices>(unfolding.levels(bytes), x, j * 4, j % 2 == 0 ? own : other);
  });
#pragma GCC unroll 3
  for (int i = 0; i < Slices; ++i) own[i] = _mm512_add_epi32(own[i], other[i]);
  store_sums(own, sums);
}

void multiply_masked(Cursor& cursor, int64_t chunks, uint8_t centre, const SlicedRows<int8_t>& x, int32_t* sums) {
  if (x.slices == 1) return multiply_masked_slices<1>(cursor, chunks, centre, x, sums);
  multiply_masked_slices<3>(cursor, chunks, centre, x, sums);
}

}  // namespace

void fill_avx512_folded(KernelTable& table) {
  table.unfold = kUnfold;
  table.multiply_folded_bytes = multiply_bytes<true>;
  table.multiply_shifted_bytes = multiply_bytes<false>;
  table.multiply_masked = multiply_masked;
}

}  // namespace tersely
