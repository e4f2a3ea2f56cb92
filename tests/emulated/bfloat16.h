// vdpbf16ps and the tiles of AMX; included by immintrin.h.
//
// Both instructions treat subnormal inputs and results as zero, round to nearest even, and ask no control register.
// Tiles are state of a thread that must be configured before use and released after it: what a processor would answer
// with a fault, or with wrong sums, aborts here with a sentence.
#pragma once

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbf16ps

namespace tersely {
namespace {

HELPER float flush(float value) { return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value; }
// One rounding, subnormal numbers zero on the way in and out.
HELPER float multiply_add(float a, float b, float c) { return flush(__builtin_fmaf(flush(a), flush(b), flush(c))); }
HELPER float widen(uint16_t word) {
  const uint32_t bits = static_cast<uint32_t>(word) << 16;
  return __builtin_bit_cast(float, bits);
}

// The odd pair first, as the manual says.
EMULATED __m512 _mm512_dpbf16_ps(const __m512& sum, const __m512bh& a, const __m512bh& b) {
  const Lanes<uint16_t> x(a), y(b);
  return each_float([&](int i) {
    const float odd = multiply_add(widen(x.at[2 * i + 1]), widen(y.at[2 * i + 1]), sum.at[i]);
    return multiply_add(widen(x.at[2 * i]), widen(y.at[2 * i]), odd);
  });
}

// To nearest even, NaN quiet; 16 words, which the kernels take as a register of integers.
EMULATED __m256i _mm512_cvtneps_pbh(const __m512& value) {
  uint16_t words[16];
  for (int i = 0; i < 16; ++i) {
    const auto bits = __builtin_bit_cast(uint32_t, flush(value.at[i]));
    const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
    words[i] = static_cast<uint16_t>(nan ? bits >> 16 | 0x40U : (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
  }
  __m256i out;
  std::memcpy(&out, words, 32);
  return out;
}

struct TileConfiguration {  // as in memory
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[8], reserved_row_bytes[8];
  uint8_t rows[8], reserved_rows[8];
};
static_assert(sizeof(TileConfiguration) == 64);

struct Tiles {
  bool configured;
  bool defined[8];  // loaded or zeroed since the configuration: tiles start as zeros, but no kernel should count on it
  TileConfiguration configuration;
  uint8_t data[8][16][64];
};
thread_local Tiles tiles;

EMULATED Tiles& tiles_with(int tile) {
  if (!tiles.configured) emulation_fault("a tile is used without a tile configuration");
  if (tile < 0 || tile > 7 || tiles.configuration.rows[tile] == 0) emulation_fault("a tile that is not configured");
  return tiles;
}

EMULATED void _tile_loadconfig(const void* from) {
  TileConfiguration c;
  std::memcpy(&c, from, sizeof c);
  bool wrong = c.palette != 1 || c.start_row != 0;
  for (uint8_t byte : c.reserved) wrong |= byte != 0;
  for (int i = 0; i < 8; ++i) {
    wrong |= c.rows[i] > 16 || c.row_bytes[i] > 64 || c.row_bytes[i] % 4 != 0;
    wrong |= (c.rows[i] == 0) != (c.row_bytes[i] == 0);
    wrong |= c.reserved_rows[i] != 0 || c.reserved_row_bytes[i] != 0;
  }
  if (wrong) emulation_fault("a tile configuration that the processor would refuse");
  if (tiles.configured) emulation_fault("a tile configuration is loaded before the one before it was released");
  tiles = {true, {}, c, {}};
}
EMULATED void _tile_release() {
  if (!tiles.configured) emulation_fault("tiles are released twice, or by a thread that did not configure them");
  tiles = {};
}

EMULATED void _tile_zero(int tile) {
  Tiles& t = tiles_with(tile);
  std::memset(t.data[tile], 0, sizeof t.data[tile]);
  t.defined[tile] = true;
}
EMULATED void _tile_loadd(int tile, const void* from, int64_t stride) {
  _tile_zero(tile);
  for (int row = 0; row < tiles.configuration.rows[tile]; ++row)
    std::memcpy(tiles.data[tile][row], static_cast<const uint8_t*>(from) + row * stride,
                tiles.configuration.row_bytes[tile]);
}
EMULATED void _tile_stored(int tile, void* to, int64_t stride) {
  const Tiles& t = tiles_with(tile);
  if (!t.defined[tile]) emulation_fault("a tile is stored that nothing was written to");
  for (int row = 0; row < t.configuration.rows[tile]; ++row)
    std::memcpy(static_cast<uint8_t*>(to) + row * stride, t.data[tile][row], t.configuration.row_bytes[tile]);
}

// sums[m][n] += a[m][pairs] . b[pairs][n]: even and odd columns are summed apart, then added.
EMULATED void _tile_dpbf16ps(int sums, int a, int b) {
  Tiles& t = tiles_with(sums);
  tiles_with(a);
  tiles_with(b);
  const TileConfiguration& c = t.configuration;
  if (sums == a || sums == b || a == b) emulation_fault("one tile is used twice in a product");
  if (!t.defined[sums] || !t.defined[a] || !t.defined[b]) emulation_fault("a tile is multiplied that nothing wrote");
  if (c.rows[sums] != c.rows[a] || c.row_bytes[sums] != c.row_bytes[b] || c.row_bytes[a] != c.rows[b] * 4)
    emulation_fault("tiles of sizes that do not fit are multiplied");
  const int columns = c.row_bytes[sums] / 4, pairs = c.rows[b];
  for (int m = 0; m < c.rows[sums]; ++m) {
    uint16_t left[32];
    float even[16] = {}, odd[16] = {}, total[16];
    std::memcpy(left, t.data[a][m], 64);
    std::memcpy(total, t.data[sums][m], 64);
    for (int k = 0; k < pairs; ++k) {
      uint16_t right[32];
      std::memcpy(right, t.data[b][k], 64);
      for (int n = 0; n < columns; ++n) {
        even[n] = multiply_add(widen(left[2 * k]), widen(right[2 * n]), even[n]);
        odd[n] = multiply_add(widen(left[2 * k + 1]), widen(right[2 * n + 1]), odd[n]);
      }
    }
    for (int n = 0; n < columns; ++n) total[n] = flush(flush(total[n]) + flush(even[n] + odd[n]));
    std::memcpy(t.data[sums][m], total, 64);
  }
}

}  // namespace
}  // namespace tersely
