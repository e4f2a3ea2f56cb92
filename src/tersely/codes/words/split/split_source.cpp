// See split_source.hpp.
#include "tersely/codes/words/split/split_source.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tersely/codes/opening.hpp"

namespace tersely {
namespace {

SplitStreams streams_of(const Geometry& g, const Parameters& p, const Components& components) {
  SplitStreams coded{p, {}};
  const int64_t chunks = g.segments == 0 ? 0 : checked_product(g.panels, g.chunks_per_panel);
  int64_t tiles = checked_product(chunks, p.chunk_bytes[0]);
  const uint8_t* bitmap = nullptr;
  if (p.has_short && g.segments > 0) {
    const int64_t bytes = ceil_div(g.panels, 64) * 8;
    bitmap = components.index("short_panels", bytes);
    int64_t marked = 0;
    for (int64_t at = 0; at < bytes; ++at) marked += std::popcount(bitmap[at]);
    if (marked > g.panels) components.refuse("short_panels", "marks more panels than there are");
    tiles -= marked * g.chunks_per_panel * (p.chunk_bytes[0] - p.chunk_bytes[1]);
  }
  coded.streams = split_streams(p, components, tiles, g.segments, kSegmentChunks);
  coded.streams.short_panels = bitmap;
  return coded;
}

}  // namespace

std::vector<uint32_t> short_ranks(const uint8_t* bitmap, int64_t bytes) {
  std::vector<uint32_t> ranks;
  uint32_t count = 0;
  for (int64_t at = 0; at < bytes; ++at) {
    if (at % 8 == 0) ranks.push_back(count);
    count += static_cast<uint32_t>(std::popcount(bitmap[at]));
  }
  ranks.push_back(count);
  return ranks;
}

int64_t panel_offset(const Geometry& g, const SplitStreams& coded, int64_t panel) {
  const Parameters& p = coded.parameters;
  const Streams& s = coded.streams;
  int64_t short_count = 0;
  if (s.short_panels != nullptr) {
    const int64_t word = panel / 64;
    short_count = s.short_rank[word];
    for (int64_t at = word * 8; at < panel / 8; ++at) short_count += std::popcount(s.short_panels[at]);
    if (panel % 8)
      short_count += std::popcount(static_cast<uint8_t>(s.short_panels[panel / 8] & ((1u << (panel % 8)) - 1)));
  }
  const int64_t chunks = g.chunks_per_panel;
  return (panel - short_count) * chunks * p.chunk_bytes[0] + short_count * chunks * p.chunk_bytes[1];
}

namespace {

const uint8_t* tiles_of(const Geometry& g, const SplitStreams& coded, int64_t segment) {
  const SegmentPart part = segment_part(g, segment);
  const uint8_t* tiles = coded.streams.tiles + panel_offset(g, coded, part.first_panel);
  if (part.first_chunk == 0) return tiles;
  return tiles + part.first_chunk * coded.parameters.chunk_bytes[panel_is_short(coded.streams, part.first_panel)];
}

}  // namespace

void begin_split(const Geometry& g, const SplitStreams& coded, const KernelTable& table, int64_t segment,
                 uint8_t* scratch, Cursor& cursor) {
  cursor.tile = tiles_of(g, coded, segment);
  table.expand_levels(coded, segment, scratch, cursor);
}

namespace {

uint64_t word_at(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, 8);
  return word;
}

// Survivors of `chunks` chunks in the tiles of a panel. Reads their codes alone.
int64_t survivors_in(const KernelTable& table, const Parameters& p, const uint8_t* tiles, int64_t chunk_bytes,
                     int64_t chunks) {
  uint64_t words[kTileChunks * 4];
  int64_t count = 0;
  for (int64_t first = 0; first < chunks; first += kTileChunks, tiles += kTileChunks * chunk_bytes) {
    const int64_t c = std::min(kTileChunks, chunks - first);
    int64_t found = c;
    if (p.code == SymbolCode::kPacked) {  // nibbles of four ones
      found = c * 4;
      for (int64_t i = 0; i < found; ++i) {
        const uint64_t word = word_at(tiles + i * 8), pairs = word & word >> 1;
        words[i] = pairs & pairs >> 2 & 0x1111111111111111U;
      }
    } else {
      for (int64_t j = 0; j < c; ++j) words[j] = word_at(tiles + j * 8);
      for (int k = 1; k < p.widths[0]; ++k)
        for (int64_t j = 0; j < c; ++j) words[j] &= word_at(tiles + (k * c + j) * 8);
    }
    count += table.count_bits(reinterpret_cast<const uint8_t*>(words), found);
  }
  return count;
}

}  // namespace

void begin_split_panel(const Geometry& g, const SplitStreams& coded, const KernelTable& table, int64_t panel,
                       uint8_t* scratch, Cursor& cursor) {
  const Parameters& p = coded.parameters;
  const int64_t unit = unit_of_panel(g, panel);
  begin_split(g, coded, table, unit * g.segments_per_panel, scratch, cursor);
  if (p.code == SymbolCode::kConstant) {
    cursor.tile = coded.streams.tiles + panel_offset(g, coded, panel);
    return;
  }
  int64_t before = 0;
  for (int64_t one = unit_panels(g, unit).first; one < panel; ++one) {
    const int64_t bytes = p.chunk_bytes[panel_is_short(coded.streams, one)];
    before += survivors_in(table, p, cursor.tile, bytes, g.chunks_per_panel);
    cursor.tile += g.chunks_per_panel * bytes;
  }
  cursor.survivors += std::min<int64_t>(before, cursor.survivors_end - cursor.survivors);
}

const uint8_t* prefetch_split(const Geometry& g, const SplitStreams& coded, int64_t segment) {
  const Streams& s = coded.streams;
  if (s.directory != nullptr) {
    const uint64_t *entry = s.directory + segment * s.directory_columns, *next = entry + s.directory_columns;
    const int escapes = s.directory_columns - 1;
    for (int64_t line = 0; line < 3; ++line) __builtin_prefetch(s.escapes + entry[escapes] + line * 64, 0, 2);
    for (int level = 1; level < coded.parameters.levels; ++level) {
      const int64_t word = 8 * coded.parameters.widths[level];
      const uint8_t *planes = s.levels[level] + entry[level - 1] * word,
                    *end = s.levels[level] + next[level - 1] * word;
      for (; planes < end; planes += 64) __builtin_prefetch(planes, 0, 2);
    }
  }
  return tiles_of(g, coded, segment);
}

SplitSource::SplitSource(const Geometry& geometry, const Parameters& parameters, const Components& components)
    : Source(parameters), geometry_(geometry), coded_(streams_of(geometry, parameters, components)) {
  if (const uint8_t* bitmap = coded_.streams.short_panels) mark_short_panels(bitmap, ceil_div(geometry.panels, 64) * 8);
}

SplitSource::SplitSource(const SplitSource& whole, const Geometry& geometry, int64_t first_panel)
    : Source(whole.parameters_), geometry_(geometry), coded_(whole.coded_) {
  const Geometry& g = whole.geometry_;
  Streams& s = coded_.streams;
  s.tiles += panel_offset(g, whole.coded_, first_panel);
  if (s.directory != nullptr) s.directory += unit_of_panel(g, first_panel) * g.segments_per_panel * s.directory_columns;
  if (s.short_panels == nullptr) return;
  bitmap_.resize(static_cast<size_t>(ceil_div(geometry.panels, 64) * 8));
  for (int64_t panel = 0; panel < geometry.panels; ++panel)
    if (panel_is_short(whole.coded_.streams, first_panel + panel))
      bitmap_[static_cast<size_t>(panel / 8)] |= static_cast<uint8_t>(1 << panel % 8);
  mark_short_panels(bitmap_.data(), static_cast<int64_t>(bitmap_.size()));
}

void SplitSource::mark_short_panels(const uint8_t* bitmap, int64_t bytes) {
  ranks_ = short_ranks(bitmap, bytes);
  short_panels_ = coded_.streams.short_panels = bitmap;
  coded_.streams.short_rank = ranks_.data();
}

SplitSymbols::SplitSymbols(const Geometry& geometry, const Node& node, const Components& components)
    : geometry_(geometry) {
  require(node.formulation == "split", "small symbols are row fields or under 'split'");
  const Parameters p = split_parameters(node.parameters, DType::kIndex);
  require(!p.has_short, "symbols have no tail");
  coded_ = streams_of(geometry, p, components);
}

void SplitSymbols::expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* symbols) const {
  const Parameters& p = coded_.parameters;
  const SegmentPart part = segment_part(geometry_, segment);
  Cursor cursor{nullptr, nullptr, nullptr};
  begin(table, segment, scratch, cursor);
  const auto decode = table.codes[static_cast<int>(DType::kIndex)][code_index(p)][0].decode_words;
  for (int64_t panel = 0; panel < part.panels; ++panel)
    decode(p, cursor, part.chunks, symbols + panel * part.chunks * kChunkWeights);
}

}  // namespace tersely
