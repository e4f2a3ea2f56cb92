// Folded distances of 8-bit weights with VNNI.
//
// a chunk: unfold 64 bytes; bring the four columns of each row together; for each slice of each batch row one
// instruction multiplies all and adds them up.
#include "laconic/kernels/avx512/chunks.hpp"
#include "laconic/kernels/table.hpp"
#include "laconic/kernels/unfold.hpp"

namespace laconic {
namespace {

// Column by column to row by row, 16 rows of four columns.
alignas(64) constexpr uint8_t kRows[64] = {0,  16, 32, 48, 1,  17, 33, 49, 2,  18, 34, 50, 3,  19, 35, 51,
                                           4,  20, 36, 52, 5,  21, 37, 53, 6,  22, 38, 54, 7,  23, 39, 55,
                                           8,  24, 40, 56, 9,  25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59,
                                           12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63};

LACONIC_INLINE __m512i four_columns(const int8_t* x) {
  int four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_set1_epi32(four);
}

template <int Slices, int Rows>
void multiply(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int8_t>& x, int32_t* sums) {
  // One sum waits for the one before: few of them take turns.
  constexpr int kTurns = Rows * Slices <= 4 ? 2 : 1;
  const __m512i rows = _mm512_load_si512(kRows), add = _mm512_set1_epi8(static_cast<char>(centre));
  const __m512i from = _mm512_set1_epi8(static_cast<char>(centre + 0x7F));  // 0x7F - folded is its size, inverted
  __m512i acc[kTurns][Rows * Slices];
#pragma GCC unroll 12
  for (int i = 0; i < Rows * Slices; ++i) {
    acc[0][i] = _mm512_loadu_si512(sums + i * 16);
    if constexpr (kTurns == 2) acc[1][i] = _mm512_setzero_si512();
  }
  const auto chunk = [&](int64_t j, __m512i* into) LACONIC_SINK {
    const __m512i words = load512(folded + j * 64);
    __m512i levels = _mm512_add_epi8(words, add);
    levels = _mm512_mask_sub_epi8(levels, _mm512_movepi8_mask(words), from, words);
    levels = _mm512_permutexvar_epi8(rows, levels);
#pragma GCC unroll 12
    for (int i = 0; i < Rows * Slices; ++i)
      into[i] = _mm512_dpbusd_epi32(into[i], levels,
                                    four_columns(x.x + i / Slices * x.row_stride + i % Slices * x.stride + j * 4));
  };
  int64_t j = 0;
  for (; j + kTurns <= chunks; j += kTurns)
#pragma GCC unroll 2
    for (int turn = 0; turn < kTurns; ++turn) chunk(j + turn, acc[turn]);
  if (j < chunks) chunk(j, acc[0]);
#pragma GCC unroll 12
  for (int i = 0; i < Rows * Slices; ++i) {
    if constexpr (kTurns == 2) acc[0][i] = _mm512_add_epi32(acc[0][i], acc[1][i]);
    _mm512_storeu_si512(sums + i * 16, acc[0][i]);
  }
}

template <int Slices>
void multiply_rows(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int8_t>& x, int32_t* sums) {
  switch (x.rows) {
    case 1:
      return multiply<Slices, 1>(folded, chunks, centre, x, sums);
    case 2:
      return multiply<Slices, 2>(folded, chunks, centre, x, sums);
    case 3:
      return multiply<Slices, 3>(folded, chunks, centre, x, sums);
    default:
      return multiply<Slices, 4>(folded, chunks, centre, x, sums);
  }
}

void multiply_folded(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int8_t>& x,
                     int32_t* sums) {
  if (x.slices == 1) return multiply_rows<1>(folded, chunks, centre, x, sums);
  multiply_rows<3>(folded, chunks, centre, x, sums);
}

}  // namespace

void fill_avx512_folded(KernelTable& table) {
  table.unfold = kUnfold;
  table.multiply_folded_bytes = multiply_folded;
}

}  // namespace laconic
