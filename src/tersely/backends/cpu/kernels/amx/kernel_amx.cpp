// AMX: 16 batch rows x 32 columns times 32 columns x 16 weight rows in one instruction. A coded tile, decoded to vector
// order, is the right operand as it stands.
//
// Memory between stores and tile loads: g++ does not know that a tile load reads memory, so `written` stands before
// them; configurations are constants, because it takes only their first eight bytes for read.
#include <immintrin.h>

#include "tersely/backends/cpu/kernels/avx512/tiles.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int64_t kTileColumns = kTileChunks * kChunkColumns;
constexpr int64_t kTileWords = kTileChunks * kChunkWeights;

TERSELY_INLINE void written() { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

// Tiles 0 to 3: sums. 4 and 5: x. 6 and 7: weights.
struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Configuration) == 64);

struct Configurations {
  Configuration of[17];
  constexpr Configurations() : of{} {
    for (int rows = 1; rows <= 16; ++rows)
      for (int tile = 0; tile < 6; ++tile) of[rows].rows[tile] = static_cast<uint8_t>(rows);
  }
};
constexpr Configurations kConfigurations;

void enter_tiles(int rows) { _tile_loadconfig(&kConfigurations.of[rows]); }
void leave_tiles() { _tile_release(); }

// Decodes to a ring of four tiles and multiplies two tiles behind: a tile load cannot take its bytes from stores that
// are still under way. One tile of sums is enough: decoding a tile takes longer than the product before it.
template <int Code>
void product_tiles(const Parameters& p, Cursor& cursor, int64_t chunks, const uint16_t* x, int rows, float* sums) {
  alignas(64) uint16_t ring[4][kTileWords];
  const auto multiply = [&](int64_t tile) TERSELY_SINK {
    written();
    _tile_loadd(4, x, 64);
    _tile_loadd(6, ring[tile % 4], 64);
    _tile_dpbf16ps(0, 4, 6);
    x += rows * kTileColumns;
  };
  written();
  _tile_loadd(0, sums, 64);
  uint16_t* to = ring[0];
  for_chunks<DType::kBfloat16, Code, Tail::kNone>(p, cursor, chunks, [&](int64_t j, const __m512i(&v)[2]) TERSELY_SINK {
    if (j % kTileChunks == 0) {
      if (j >= 2 * kTileChunks) multiply(j / kTileChunks - 2);
      to = ring[j / kTileChunks % 4];
    }
    _mm512_store_si512(to + j % kTileChunks * kChunkWeights, v[0]);
    _mm512_store_si512(to + j % kTileChunks * kChunkWeights + 32, v[1]);
  });
  const int64_t tiles = (chunks + kTileChunks - 1) / kTileChunks;
  for (int64_t j = chunks; j < tiles * kTileChunks; ++j) {  // what is left there might be NaN
    _mm512_store_si512(to + j % kTileChunks * kChunkWeights, _mm512_setzero_si512());
    _mm512_store_si512(to + j % kTileChunks * kChunkWeights + 32, _mm512_setzero_si512());
  }
  for (int64_t tile = tiles > 2 ? tiles - 2 : 0; tile < tiles; ++tile) multiply(tile);
  _tile_stored(0, sums, 64);
}

// Each weight tile is loaded once for two blocks of x and each tile of x once for two panels: as many products as
// loads.
template <int Panels, int Blocks>
void multiply_block(const uint16_t* w, int64_t panel_stride, const uint16_t* x, int64_t x_block_stride, int rows,
                    int64_t tiles, float* y, int64_t y_panel_stride) {
  const int64_t x_tile = rows * kTileColumns, y_block = rows * kPanelRows;
  written();
  _tile_loadd(0, y, 64);
  if constexpr (Blocks == 2) _tile_loadd(1, y + y_block, 64);
  if constexpr (Panels == 2) _tile_loadd(2, y + y_panel_stride, 64);
  if constexpr (Panels == 2 && Blocks == 2) _tile_loadd(3, y + y_panel_stride + y_block, 64);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    _tile_loadd(4, x, 64);
    _tile_loadd(6, w, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (Blocks == 2) {
      _tile_loadd(5, x + x_block_stride, 64);
      _tile_dpbf16ps(1, 5, 6);
    }
    if constexpr (Panels == 2) {
      _tile_loadd(7, w + panel_stride, 64);
      _tile_dpbf16ps(2, 4, 7);
    }
    if constexpr (Panels == 2 && Blocks == 2) _tile_dpbf16ps(3, 5, 7);
    x += x_tile;
    w += kTileWords;
  }
  _tile_stored(0, y, 64);
  if constexpr (Blocks == 2) _tile_stored(1, y + y_block, 64);
  if constexpr (Panels == 2) _tile_stored(2, y + y_panel_stride, 64);
  if constexpr (Panels == 2 && Blocks == 2) _tile_stored(3, y + y_panel_stride + y_block, 64);
}

void multiply_tiles(const uint16_t* w, int64_t panel_stride, int panels, const uint16_t* x, int64_t x_block_stride,
                    int blocks, int rows, int64_t tiles, float* y, int64_t y_panel_stride) {
  switch (panels * 10 + blocks) {
    case 11:
      return multiply_block<1, 1>(w, panel_stride, x, x_block_stride, rows, tiles, y, y_panel_stride);
    case 12:
      return multiply_block<1, 2>(w, panel_stride, x, x_block_stride, rows, tiles, y, y_panel_stride);
    case 21:
      return multiply_block<2, 1>(w, panel_stride, x, x_block_stride, rows, tiles, y, y_panel_stride);
    default:
      return multiply_block<2, 2>(w, panel_stride, x, x_block_stride, rows, tiles, y, y_panel_stride);
  }
}

template <int Code>
void fill_code(KernelTable& table) {
  table.codes[static_cast<int>(DType::kBfloat16)][Code][static_cast<int>(Tail::kNone)].product_tiles =
      product_tiles<Code>;
}

}  // namespace

void fill_amx(KernelTable& table) {
  table.isa = "amx";
  fill_code<1>(table);
  fill_code<2>(table);
  fill_code<3>(table);
  fill_code<4>(table);
  fill_code<5>(table);
  table.multiply_tiles = multiply_tiles;
  table.enter_tiles = enter_tiles;
  table.leave_tiles = leave_tiles;
}

}  // namespace tersely
