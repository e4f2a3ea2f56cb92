// See encode.hpp. Both passes cut a tile of 16 x 32 words at a time (a kernel); threads share out units, and the
// directory, known from the statistics of the same words, tells each where its survivors and escapes go.
#include "laconic/formulations/split/encode.hpp"

#include <atomic>
#include <vector>

#include "laconic/base/parallel.hpp"
#include "laconic/formulations/split/gather.hpp"
#include "laconic/formulations/split/planes.hpp"
#include "laconic/formulations/split/walk.hpp"

namespace laconic {
namespace {

constexpr int64_t kTileColumns = kTileChunks * kChunkColumns;

template <DType D>
struct Word;
template <>
struct Word<DType::kFloat32> {
  using type = uint32_t;
};
template <>
struct Word<DType::kBfloat16> {
  using type = uint16_t;
};
template <>
struct Word<DType::kFloat16> {
  using type = uint16_t;
};
template <>
struct Word<DType::kFloat8E4M3> {
  using type = uint8_t;
};
template <>
struct Word<DType::kFloat8E5M2> {
  using type = uint8_t;
};
template <>
struct Word<DType::kIndex> {
  using type = uint8_t;
};

// A tile of words as `cut_words` reads it: in the tensor where its rows lie there whole, else copied, zeros for
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

// Counts symbols in four histograms: neighbours are often equal and would wait for each other's store.
inline void count_symbols(const uint8_t* symbols, int64_t count, uint32_t* counts) {
  for (int64_t i = 0; i < count; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, symbols + i, 8);
    for (int k = 0; k < 8; ++k) ++counts[k % 4 * 256 + (eight >> (8 * k) & 255)];
  }
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
    typename Word<D>::type copy[16][kTileColumns];
    CutTile cut;
    uint8_t any = 0, every = 255;
    const UnitPanels panels = unit_panels(g, unit);
    std::vector<uint32_t> counts(static_cast<size_t>(g.segments_per_panel) * 4 * 256, 0);
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      uint32_t tail_bits = 0;
      for_tiles(g, [&](int64_t chunk, int64_t chunks) {
        const TileRows rows = tile_rows(words, g, panel, chunk * kChunkColumns, chunks * kChunkColumns, copy);
        tail_bits |= table.cut_words(D, rows.words, rows.stride_bytes, cut);
        uint32_t* own = counts.data() + chunk / (kSegmentColumns / kChunkColumns) * 4 * 256;
        if (g.segments_per_panel == 1) own = counts.data();
        if (rows.all) {
          count_symbols(cut.symbols[0], chunks * 64, own);
          if (f.has_byte)
            for (int64_t j = 0; j < chunks; ++j)
              for (int i = 0; i < 64; ++i) any |= cut.bytes[j][i], every &= cut.bytes[j][i];
        } else {
          for (int64_t j = 0; j < chunks; ++j)
            for (int column = 0; column < 4; ++column)
              for (int row = 0; row < 16; ++row) {
                if (!is_real(g, panel, row, (chunk + j) * 4 + column)) continue;
                const int at = chunk_position(D, row, column);
                ++own[cut.symbols[j][at]];
                if (f.has_byte) any |= cut.bytes[j][at], every &= cut.bytes[j][at];
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

// Coded place of each symbol; symbols outside the table have the table's length.
void symbol_ranks(const Parameters& p, uint8_t (&ranks)[256], int& length) {
  length = 0;
  uint8_t order[kMaximumLevels * 15];
  const int levels = p.code == Code::kLayered ? p.levels : 1;
  for (int level = 0; level < levels; ++level) {
    const int own = p.code == Code::kConstant ? 1 : p.code == Code::kPacked ? 15 : (1 << p.widths[level]) - 1;
    for (int i = 0; i < own; ++i) order[length++] = p.tables[level][i];
  }
  std::memset(ranks, length, 256);
  for (int i = length - 1; i >= 0; --i) ranks[order[i]] = static_cast<uint8_t>(i);
}

// Survivors of one segment, in order. Room for the group that is being added, and for padding to whole groups.
struct Survivors {
  uint8_t symbols[kSegmentWeights + 128];
  int64_t count = 0;
};

// Codes the deeper levels of a segment at their places. Returns false where the places do not fit.
bool write_levels(const Parameters& p, const KernelTable& table, const uint8_t (&ranks)[256], const MutableStreams& s,
                  int64_t segment, int columns, Survivors& survivors) {
  const uint64_t* entry = s.directory + segment * columns;
  const uint64_t* next = entry + columns;
  int start = (1 << p.widths[0]) - 1;
  for (int level = 1; level < p.levels; ++level) {
    const int width = p.widths[level], own = (1 << width) - 1;
    const int64_t groups = ceil_div(survivors.count, 64);
    if (groups != static_cast<int64_t>(next[level - 1] - entry[level - 1])) return false;
    std::memset(survivors.symbols + survivors.count, p.tables[level][0],
                static_cast<size_t>(groups * 64 - survivors.count));
    uint8_t* out = s.levels[level] + entry[level - 1] * 8 * width;
    const CodeLevel own_level{ranks, p.tables[level], start, own};
    survivors.count = 0;  // this level's survivors overwrite its symbols: they never pass the group that is coded
    for (int64_t g = 0; g < groups; ++g) {
      uint8_t group[64], fields[64];
      std::memcpy(group, survivors.symbols + g * 64, 64);
      survivors.count += table.code_group(group, own_level, fields, survivors.symbols + survivors.count);
      pack_planes(fields, width, out + g * 8 * width, 1);
    }
    start += own;
  }
  return true;
}

template <DType D>
const char* encode(const uint8_t* words, const Geometry& g, const Parameters& p, const MutableStreams& s,
                   const KernelTable& table, int threads) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  uint8_t ranks[256];
  int length;
  symbol_ranks(p, ranks, length);
  const int columns = p.code == Code::kConstant ? 0 : p.code == Code::kPacked ? 1 : p.levels;
  SplitView view{g, p, {}};
  view.streams.short_panels = s.short_panels;
  view.streams.short_rank = s.short_rank;
  const CodeLevel first_level{ranks, p.tables[0], 0, p.code == Code::kLayered ? (1 << p.widths[0]) - 1 : 15};
  std::atomic<const char*> wrong{nullptr};
  parallel_for(threads, g.units, [&](int64_t unit) {
    typename Word<D>::type copy[16][kTileColumns];
    CutTile cut;
    Survivors survivors;
    const UnitPanels panels = unit_panels(g, unit);
    uint8_t* out = s.tiles + panel_offset(view, panels.first);
    int64_t segment = unit * g.segments_per_panel;
    auto finish_segment = [&] {
      if (p.code == Code::kConstant) return;
      if (p.code == Code::kLayered && !write_levels(p, table, ranks, s, segment, columns, survivors))
        wrong = "directory";
      const uint64_t* entry = s.directory + segment * columns + (columns - 1);
      if (survivors.count != static_cast<int64_t>(entry[columns] - entry[0])) {
        wrong = "escapes";
      } else if (survivors.count > 0) {
        std::memcpy(s.escapes + entry[0], survivors.symbols, static_cast<size_t>(survivors.count));
      }
      survivors.count = 0;
      ++segment;
    };
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      const bool is_short = panel_is_short(view.streams, panel);
      const Tail tail = is_short ? p.short_tail : p.tail;
      for_tiles(g, [&](int64_t chunk, int64_t c) {
        if (chunk > 0 && chunk % (kSegmentColumns / kChunkColumns) == 0 && g.segments_per_panel > 1) finish_segment();
        const TileRows rows = tile_rows(words, g, panel, chunk * kChunkColumns, c * kChunkColumns, copy);
        table.cut_words(D, rows.words, rows.stride_bytes, cut);
        if (!rows.all)
          for (int64_t j = 0; j < c; ++j)
            for (int column = 0; column < 4; ++column)
              for (int row = 0; row < 16; ++row)
                if (!is_real(g, panel, row, (chunk + j) * 4 + column)) {
                  const int at = chunk_position(D, row, column);
                  cut.symbols[j][at] = p.tables[0][0];
                  cut.bytes[j][at] = p.byte_is_constant ? p.byte : 0;
                }
        for (int64_t j = 0; j < c && p.code != Code::kConstant; ++j) {
          uint8_t fields[64];
          survivors.count += table.code_group(cut.symbols[j], first_level, fields, survivors.symbols + survivors.count);
          if (p.code == Code::kPacked) {
            for (int i = 0; i < 32; ++i) out[j * 32 + i] = static_cast<uint8_t>(fields[i] | fields[i + 32] << 4);
          } else {
            pack_planes(fields, p.widths[0], out + j * 8, c);
          }
        }
        out += c * p.code_bytes;
        if (f.odd_count > 0) {
          for (int64_t j = 0; j < c; ++j) pack_planes(cut.odd[j], f.odd_count, out + j * 8, c);
          out += c * 8 * f.odd_count;
        }
        if (f.has_byte && !p.byte_is_constant) {
          std::memcpy(out, cut.bytes, static_cast<size_t>(c) * 64);
          out += c * 64;
        }
        if (tail == Tail::kWord) {
          std::memcpy(out, cut.tails, static_cast<size_t>(c) * 128);
          out += c * 128;
        } else if (tail == Tail::kBits3) {
          for (int64_t j = 0; j < c; ++j) {
            uint8_t bits[64];
            for (int i = 0; i < 64; ++i) bits[i] = static_cast<uint8_t>(cut.tails[j][i] >> 13);
            pack_planes(bits, 3, out + j * 8, c);
          }
          out += c * 24;
        }
      });
      if (g.segments_per_panel > 1) finish_segment();
    }
    if (g.segments_per_panel == 1) finish_segment();
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

}  // namespace laconic
