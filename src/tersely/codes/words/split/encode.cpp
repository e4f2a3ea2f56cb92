// See encode.hpp. Both passes split a tile of 16 x 32 words at a time (a kernel); threads share out units, and the
// directory, known from the statistics of the same words, tells each where its survivors and escapes go.
#include "tersely/codes/words/split/encode.hpp"

#include <atomic>
#include <vector>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/codes/words/split/encode_tiles.hpp"
#include "tersely/codes/words/split/split_source.hpp"

namespace tersely {
namespace {

constexpr int64_t kTileColumns = kTileChunks * kChunkColumns;

// A tile of words as `split_words` reads it: in the tensor where its rows lie there whole, else copied, zeros for
// padding.
struct TileRows {
  const uint8_t* words;
  int64_t stride_bytes;
  bool all;  // no padding
};

template <class Word>
TileRows tile_rows(const uint8_t* words, const Geometry& g, int64_t panel, int64_t first_column, int64_t columns,
                   Word (&copy)[16][kTileColumns]) {
  const auto* in = reinterpret_cast<const Word*>(words);
  const int64_t base = row_offset(g, panel, 0) + (g.column_offsets == nullptr ? first_column * g.column_stride : 0);
  const int64_t rows = std::min(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows);
  const int64_t real = std::min(columns, g.columns - first_column);
  const bool by_rows = g.column_offsets == nullptr && g.column_stride == 1;
  const bool all = rows == kPanelRows && real == columns &&
                   (!by_rows || base + (kPanelRows - 1) * g.row_stride + columns <= g.elements);
  if (by_rows && all && columns == kTileColumns)
    return {reinterpret_cast<const uint8_t*>(in + base), g.row_stride * static_cast<int64_t>(sizeof(Word)), true};
  if (!all || columns < kTileColumns) std::memset(copy, 0, sizeof copy);
  if (by_rows) {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t from = base + row * g.row_stride, count = std::clamp<int64_t>(g.elements - from, 0, real);
      std::memcpy(copy[row], in + from, static_cast<size_t>(count) * sizeof(Word));
    }
  } else {
    const Word* first = in + row_offset(g, panel, 0);
    if (g.row_stride == 1) {
      for (int64_t column = 0; column < real; ++column) {
        const Word* from = first + column_offset(g, first_column + column);
        for (int64_t row = 0; row < rows; ++row) copy[row][column] = from[row];
      }
    } else {
      for (int64_t row = 0; row < rows; ++row) {
        const Word* from = first + row * g.row_stride;
        for (int64_t column = 0; column < real; ++column)
          copy[row][column] = from[column_offset(g, first_column + column)];
      }
    }
  }
  return {reinterpret_cast<const uint8_t*>(copy), sizeof copy[0], all};
}

template <class F>
void for_tiles(const Geometry& g, F&& f) {
  for (int64_t chunk = 0; chunk < g.chunks_per_panel; chunk += kTileChunks)
    f(chunk, std::min(kTileChunks, g.chunks_per_panel - chunk));
}

template <DType D>
int statistics(const uint8_t* words, const Geometry& g, uint32_t* histograms, uint8_t* tail_kinds,
               const KernelTable& table, int threads) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  std::atomic<uint32_t> all_or{0}, all_and{255};
  parallel_for(threads, g.units, [&](int64_t unit) {
    Word<D> copy[16][kTileColumns];
    SplitTile pieces;
    uint8_t any = 0, every = 255;
    const UnitPanels panels = unit_panels(g, unit);
    std::vector<uint32_t> counts(static_cast<size_t>(g.segments_per_panel) * 4 * 256, 0);
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      uint32_t tail_bits = 0;
      for_tiles(g, [&](int64_t chunk, int64_t chunks) {
        const TileRows rows = tile_rows(words, g, panel, chunk * kChunkColumns, chunks * kChunkColumns, copy);
        tail_bits |= table.split_words(D, rows.words, rows.stride_bytes, pieces);
        uint32_t* own = counts.data() + chunk / (kSegmentColumns / kChunkColumns) * 4 * 256;
        if (g.segments_per_panel == 1) own = counts.data();
        if (rows.all) {
          count_symbols(pieces.symbols[0], chunks * 64, own);
          if (f.has_byte && (any & ~every) == 0)  // or they are known to differ
            for (int64_t j = 0; j < chunks; ++j)
              for (int i = 0; i < 64; ++i) any |= pieces.bytes[j][i], every &= pieces.bytes[j][i];
        } else {
          for (int64_t j = 0; j < chunks; ++j)
            for (int column = 0; column < 4; ++column)
              for (int row = 0; row < 16; ++row) {
                if (!is_real(g, panel, row, (chunk + j) * 4 + column)) continue;
                const int at = chunk_position(D, row, column);
                ++own[pieces.symbols[j][at]];
                if (f.has_byte) any |= pieces.bytes[j][at], every &= pieces.bytes[j][at];
              }
        }
      });
      tail_kinds[panel] = tail_bits == 0 ? 0 : (tail_bits & 0x1FFF) ? 2 : 1;
    }
    for (int64_t s = 0; s < g.segments_per_panel; ++s) {
      uint32_t* out = histograms + (unit * g.segments_per_panel + s) * 256;
      const uint32_t* own = counts.data() + s * 4 * 256;
      for (int i = 0; i < 256; ++i) out[i] = own[i] + own[256 + i] + own[512 + i] + own[768 + i];
    }
    all_or.fetch_or(any, std::memory_order_relaxed);
    all_and.fetch_and(every, std::memory_order_relaxed);
  });
  return f.has_byte && all_or == all_and ? static_cast<int>(all_or.load()) : -1;
}

template <DType D>
const char* encode(const uint8_t* words, const Geometry& g, const Parameters& p, const MutableStreams& s,
                   const KernelTable& table, int threads) {
  uint8_t ranks[256];
  int length;
  symbol_ranks(p, ranks, length);
  SplitStreams view{p, {}};
  view.streams.short_panels = s.short_panels;
  view.streams.short_rank = s.short_rank;
  std::atomic<const char*> wrong{nullptr};
  parallel_for(threads, g.units, [&](int64_t unit) {
    Word<D> copy[16][kTileColumns];
    SplitTile pieces;
    Survivors survivors;
    const UnitPanels panels = unit_panels(g, unit);
    uint8_t* out = s.tiles + panel_offset(g, view, panels.first);
    int64_t segment = unit * g.segments_per_panel;
    auto finish = [&] {
      if (const char* component = finish_segment(p, table, ranks, s, segment++, survivors)) wrong = component;
    };
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      const bool is_short = panel_is_short(view.streams, panel);
      const Tail tail = is_short ? p.short_tail : p.tail;
      for_tiles(g, [&](int64_t chunk, int64_t c) {
        if (chunk > 0 && chunk % (kSegmentColumns / kChunkColumns) == 0 && g.segments_per_panel > 1) finish();
        const TileRows rows = tile_rows(words, g, panel, chunk * kChunkColumns, c * kChunkColumns, copy);
        table.split_words(D, rows.words, rows.stride_bytes, pieces);
        if (!rows.all)
          for (int64_t j = 0; j < c; ++j)
            for (int column = 0; column < 4; ++column)
              for (int row = 0; row < 16; ++row)
                if (!is_real(g, panel, row, (chunk + j) * 4 + column)) {
                  const int at = chunk_position(D, row, column);
                  pieces.symbols[j][at] = p.tables[0][0];
                  pieces.bytes[j][at] = p.byte_is_constant ? p.byte : 0;
                }
        out = write_tile<D>(pieces, c, p, tail, table, ranks, out, survivors);
      });
      if (g.segments_per_panel > 1) finish();
    }
    if (g.segments_per_panel == 1) finish();
  });
  return wrong.load();
}

}  // namespace

int split_statistics(const uint8_t* words, const Geometry& g, DType dtype, uint32_t* histograms, uint8_t* tail_kinds,
                     const KernelTable& table, int threads) {
  switch (dtype) {
    case DType::kFloat32:
      return statistics<DType::kFloat32>(words, g, histograms, tail_kinds, table, threads);
    case DType::kBfloat16:
      return statistics<DType::kBfloat16>(words, g, histograms, tail_kinds, table, threads);
    case DType::kFloat16:
      return statistics<DType::kFloat16>(words, g, histograms, tail_kinds, table, threads);
    case DType::kFloat8E4M3:
      return statistics<DType::kFloat8E4M3>(words, g, histograms, tail_kinds, table, threads);
    case DType::kIndex:
      return statistics<DType::kIndex>(words, g, histograms, tail_kinds, table, threads);
    default:
      return statistics<DType::kFloat8E5M2>(words, g, histograms, tail_kinds, table, threads);
  }
}

const char* split_encode(const uint8_t* words, const Geometry& g, const Parameters& p, const MutableStreams& s,
                         const KernelTable& table, int threads) {
  switch (p.dtype) {
    case DType::kFloat32:
      return encode<DType::kFloat32>(words, g, p, s, table, threads);
    case DType::kBfloat16:
      return encode<DType::kBfloat16>(words, g, p, s, table, threads);
    case DType::kFloat16:
      return encode<DType::kFloat16>(words, g, p, s, table, threads);
    case DType::kFloat8E4M3:
      return encode<DType::kFloat8E4M3>(words, g, p, s, table, threads);
    case DType::kIndex:
      return encode<DType::kIndex>(words, g, p, s, table, threads);
    default:
      return encode<DType::kFloat8E5M2>(words, g, p, s, table, threads);
  }
}

}  // namespace tersely
