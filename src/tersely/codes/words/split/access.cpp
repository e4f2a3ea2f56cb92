// One weight by rank, as succinct structures do it: count the survivors before it, go down a level, repeat.
#include <bit>
#include <cstring>

#include "tersely/codes/words/split/sequence.hpp"
#include "tersely/codes/words/split/split_source.hpp"

namespace tersely {
namespace {

uint64_t word_at(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, 8);
  return word;
}

// Field `bit` of one group of planes, and the mask of its survivors.
struct Group {
  unsigned field;
  uint64_t survivors;
};
Group read_group(const uint8_t* planes, int64_t stride, int width, int bit) {
  Group group{0, ~uint64_t{0}};
  for (int k = 0; k < width; ++k) {
    const uint64_t word = word_at(planes + k * stride * 8);
    group.field |= static_cast<unsigned>(word >> bit & 1) << k;
    group.survivors &= word;
  }
  return group;
}
Group read_packed(const uint8_t* nibbles, int bit) {
  Group group{0, 0};
  for (int i = 0; i < 64; ++i) {
    const unsigned field = i < 32 ? nibbles[i] & 15u : nibbles[i - 32] >> 4;
    if (field == 15) group.survivors |= uint64_t{1} << i;
    if (i == bit) group.field = field;
  }
  return group;
}
int64_t rank(uint64_t word, int bit) { return std::popcount(word & ((uint64_t{1} << bit) - 1)); }

// Where a chunk's pieces lie: chunk j of the c in its tile, whose planes are c words apart.
struct TileChunk {
  const uint8_t* tile;
  int64_t c, j;
  Tail tail;
};

// The word at (row, column) of chunk `chunk` of a segment; tile_chunk_of tells where each of the segment's chunks lies.
template <class TileChunkOf>
uint32_t access_chunk(const SplitStreams& view, int64_t segment, int64_t chunk, int row, int column,
                      TileChunkOf&& tile_chunk_of) {
  const Parameters& p = view.parameters;
  const Streams& s = view.streams;
  const Fields& f = kFields[static_cast<int>(p.dtype)];
  const int bit = chunk_position(p.dtype, row, column);
  const auto group_of = [&](const TileChunk& at, int of_bit) {
    return p.code == SymbolCode::kPacked ? read_packed(at.tile + at.j * 32, of_bit)
                                         : read_group(at.tile + at.j * 8, at.c, p.widths[0], of_bit);
  };

  const TileChunk here = tile_chunk_of(chunk);
  uint32_t symbol = p.tables[0][0];
  if (p.code != SymbolCode::kConstant) {
    const unsigned all_ones = p.code == SymbolCode::kPacked ? 15 : (1u << p.widths[0]) - 1;
    const Group own = group_of(here, bit);
    symbol = p.tables[0][own.field];
    if (own.field == all_ones) {
      int64_t position = rank(own.survivors, bit);
      for (int64_t i = 0; i < chunk; ++i) position += std::popcount(group_of(tile_chunk_of(i), 0).survivors);
      const uint64_t* entry = s.directory + segment * s.directory_columns;
      const uint64_t* next = entry + s.directory_columns;
      bool found = false;
      for (int level = 1; level < p.levels && !found; ++level) {
        const int width = p.widths[level];
        const auto groups = static_cast<int64_t>(next[level - 1] - entry[level - 1]);
        if (position >= groups * 64) return 0;  // only in a damaged file
        const uint8_t* planes = s.levels[level] + entry[level - 1] * 8 * width;
        const int64_t group = position / 64;
        const int inside = static_cast<int>(position % 64);
        const Group at = read_group(planes + group * 8 * width, 1, width, inside);
        symbol = p.tables[level][at.field];
        found = at.field != (1u << width) - 1;
        position = rank(at.survivors, inside);
        for (int64_t i = 0; i < group && !found; ++i)
          position += std::popcount(read_group(planes + i * 8 * width, 1, width, 0).survivors);
      }
      if (!found) {
        const int escapes = s.directory_columns - 1;
        if (position >= static_cast<int64_t>(next[escapes] - entry[escapes])) return 0;
        symbol = s.escapes[entry[escapes] + static_cast<uint64_t>(position)];
      }
    }
  }

  uint32_t head = (symbol & ((1u << f.symbol_bits) - 1)) << f.symbol_shift;
  const uint8_t* at = here.tile + here.c * p.code_bytes;
  for (int k = 0; k < f.odd_count; ++k)
    if (word_at(at + (k * here.c + here.j) * 8) >> bit & 1) head |= f.odd_values[k];
  at += here.c * 8 * f.odd_count;
  if (f.has_byte) {
    const uint32_t byte = p.byte_is_constant ? p.byte : at[here.j * 64 + bit];
    head |= f.rotated ? byte >> 1 | (byte & 1) << 15 : byte;
    if (!p.byte_is_constant) at += here.c * 64;
  }
  if (p.dtype != DType::kFloat32) return head & ((uint64_t{1} << f.word_bytes * 8) - 1);
  const int tail_index = tail_position(row, column);
  uint32_t low = 0;
  if (here.tail == Tail::kWord) {
    uint16_t word;
    std::memcpy(&word, at + (here.j * 64 + tail_index) * 2, 2);
    low = word;
  } else if (here.tail == Tail::kBits3) {
    for (int k = 0; k < 3; ++k)
      low |= static_cast<uint32_t>(word_at(at + (k * here.c + here.j) * 8) >> tail_index & 1) << (13 + k);
  }
  return head << 16 | low;
}

}  // namespace

uint32_t split_access(const Geometry& g, const SplitStreams& view, int64_t matrix, int64_t row, int64_t column) {
  const Parameters& p = view.parameters;
  const int64_t panel = matrix * g.panels_per_matrix + row / kPanelRows;
  const ChunkInSegment found = chunk_in_segment(g, panel, column);
  const SegmentPart part = segment_part(g, found.segment);
  const auto tile_chunk_of = [&](int64_t i) {
    const bool narrow = g.segments_per_panel == 1;
    const int64_t of_panel = narrow ? part.first_panel + i / g.chunks_per_panel : panel;
    const int64_t of_chunk = narrow ? i % g.chunks_per_panel : part.first_chunk + i;
    const bool is_short = panel_is_short(view.streams, of_panel);
    const int64_t first = of_chunk / kTileChunks * kTileChunks;
    return TileChunk{view.streams.tiles + panel_offset(g, view, of_panel) + first * p.chunk_bytes[is_short],
                     std::min(kTileChunks, g.chunks_per_panel - first), of_chunk - first,
                     is_short ? p.short_tail : p.tail};
  };
  return access_chunk(view, found.segment, found.chunk, static_cast<int>(row % 16), static_cast<int>(column % 4),
                      tile_chunk_of);
}

uint32_t sequence_access(const SplitStreams& view, const ValueGroups& groups, int64_t index) {
  const Parameters& p = view.parameters;
  const auto inside = static_cast<int>(index % kChunkWeights);
  const bool pairs = p.dtype == DType::kBfloat16;
  const int row = pairs ? inside % 32 / 2 : inside % 16;
  const int column = pairs ? inside / 32 * 2 + inside % 2 : inside / 16;
  return access_chunk(view, groups.segment, index / kChunkWeights, row, column, [&](int64_t i) {
    const int64_t first = i / kTileChunks * kTileChunks;
    return TileChunk{view.streams.tiles + (groups.first + first) * p.chunk_bytes[0],
                     std::min(kTileChunks, groups.count - first), i - first, p.tail};
  });
}

}  // namespace tersely
