// float8 to float32, 64 at once: two bytes of a bfloat16, which holds every float8, by lookups in 128 magnitudes.
//
//     vpermi2b the lower byte, vpermi2b the upper byte, the sign beside it; interleave; vpermi2w to floats of a column
//
// Why so: by way of float16, sixteen take nine instructions, NaN and the sign apart. Included by kernel files only.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstdint>

#include "tersely/backends/cpu/kernels/layout.hpp"

namespace tersely {
namespace {

struct Float8Tables {
  alignas(64) uint8_t lower[128];
  alignas(64) uint8_t upper[128];
};

// Words of bfloat16 for float8 without a sign: `mantissa_bits` of 7, the rest exponent.
constexpr Float8Tables float8_tables(int mantissa_bits, bool has_infinity) {
  Float8Tables tables{};
  const int exponent_bits = 7 - mantissa_bits, bias = (1 << (exponent_bits - 1)) - 1;
  for (int word = 0; word < 128; ++word) {
    const int exponent = word >> mantissa_bits, mantissa = word & ((1 << mantissa_bits) - 1);
    unsigned found = 0;
    if (has_infinity && exponent == (1 << exponent_bits) - 1) {
      found = 0x7F80u | static_cast<unsigned>(mantissa) << (7 - mantissa_bits);
    } else if (!has_infinity && word == 127) {
      found = 0x7FC0u;
    } else if (exponent > 0) {
      found = static_cast<unsigned>(exponent - bias + 127) << 7 | static_cast<unsigned>(mantissa)
                                                                      << (7 - mantissa_bits);
    } else if (mantissa > 0) {  // subnormal: mantissa x 2^(1 - bias - mantissa_bits), a normal bfloat16
      const int top = std::bit_width(static_cast<unsigned>(mantissa)) - 1;
      found = static_cast<unsigned>(top + 1 - bias - mantissa_bits + 127) << 7 |
              (static_cast<unsigned>(mantissa) << (7 - top) & 0x7Fu);
    }
    tables.lower[word] = static_cast<uint8_t>(found);
    tables.upper[word] = static_cast<uint8_t>(found >> 8);
  }
  return tables;
}

template <DType D>
inline constexpr Float8Tables kFloat8 = D == DType::kFloat8E4M3 ? float8_tables(3, false) : float8_tables(2, true);

// A chunk, a column of 16 rows in each lane of 128 bits, to floats column by column.
template <DType D>
inline __attribute__((always_inline)) void float8_floats(__m512i words, __m512 (&f)[4]) {
  constexpr const Float8Tables& t = kFloat8<D>;
  const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(t.lower), words, _mm512_load_si512(t.lower + 64));
  const __m512i magnitude =
      _mm512_permutex2var_epi8(_mm512_load_si512(t.upper), words, _mm512_load_si512(t.upper + 64));
  const __m512i high = _mm512_or_si512(magnitude, _mm512_and_si512(words, _mm512_set1_epi8(static_cast<char>(0x80))));
  const __m512i first = _mm512_unpacklo_epi8(low, high), last = _mm512_unpackhi_epi8(low, high);
  // Words 8 c .. 8 c + 7 of each are rows 0 .. 7 and 8 .. 15 of column c; a float is one of them above zeros.
  alignas(64) static constexpr auto kPlaces = [] {
    struct {
      uint16_t of[4][32];
    } places{};
    for (int c = 0; c < 4; ++c)
      for (int row = 0; row < 16; ++row)
        places.of[c][2 * row + 1] = static_cast<uint16_t>(row / 8 * 32 + c * 8 + row % 8);
    return places;
  }();
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c)
    f[c] = _mm512_castsi512_ps(
        _mm512_maskz_permutex2var_epi16(0xAAAAAAAAu, first, _mm512_load_si512(kPlaces.of[c]), last));
}

}  // namespace
}  // namespace tersely
