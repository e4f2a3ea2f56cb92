// Statistics and encoding of `integer`: both walk blocks of 16 x 16 words; threads share out units.
#include <atomic>
#include <cstring>
#include <vector>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/codes/words/integer/integer.hpp"

namespace tersely {
namespace {

constexpr int64_t kSegmentBlocks = kSegmentColumns / kFieldBlockColumns;

// Calls f(level, real) for the positions of a block in chunk order, row * 4 + column in a chunk.
template <class F>
void for_levels(const uint8_t* words, const Geometry& g, int64_t panel, int64_t block, uint8_t flip, F&& f) {
  uint8_t tile[kFieldBlockColumns][16];
  const int64_t first = block * kFieldBlockColumns;
  const bool all = gather_tile(words, g, panel, first, static_cast<int>(kFieldBlockColumns), tile);
  for (int position = 0; position < kFieldBlockWeights; ++position) {
    const int row = position % 64 / 4, column = position / 64 * 4 + position % 4;
    f(position, static_cast<uint8_t>(tile[column][row] ^ flip), all || is_real(g, panel, row, first + column));
  }
}

void pack_block(const uint8_t* fields, int bits, uint8_t* out) {
  int shift = 0;
  for (int width = 8; width > 0; width /= 2) {
    if ((bits & width) == 0) continue;
    const int mask = (1 << width) - 1, halves = 8 / width;
    for (int run = 0; run < width; ++run, out += kFieldRunBytes)
      for (int k = 0; k < halves; ++k) {
        const uint8_t* from = fields + (run * halves + k) * kFieldRunBytes;
        for (int b = 0; b < kFieldRunBytes; ++b)
          out[b] |= static_cast<uint8_t>((from[b] >> shift & mask) << (k * width));
      }
    shift += width;
  }
}

}  // namespace

FieldPart part_of(const IntegerView& view, int64_t segment) {
  const Geometry& g = view.geometry;
  const int64_t unit = segment / g.segments_per_panel, s = segment % g.segments_per_panel;
  const UnitPanels panels = unit_panels(g, unit);
  FieldPart part{};
  part.unit = unit;
  part.first_panel = panels.first;
  part.panels = panels.last - panels.first;
  part.first_chunk = s * (kSegmentColumns / kChunkColumns);
  part.chunks = g.segments_per_panel == 1
                    ? g.chunks_per_panel
                    : std::min(kSegmentColumns / kChunkColumns, g.chunks_per_panel - part.first_chunk);
  part.blocks = ceil_div(part.chunks, kFieldBlockChunks);
  part.bits = view.groups[unit * 2];
  part.base = view.groups[unit * 2 + 1];
  part.panel_bytes = ceil_div(g.columns, kFieldBlockColumns) * kFieldRunBytes * part.bits;
  part.fields = view.fields + view.starts[unit] + part.first_chunk / kFieldBlockChunks * kFieldRunBytes * part.bits;
  return part;
}

std::vector<int64_t> field_starts(const Geometry& g, const uint8_t* groups) {
  std::vector<int64_t> starts(static_cast<size_t>(g.units) + 1, 0);
  const int64_t panel_bytes = ceil_div(g.columns, kFieldBlockColumns) * kFieldRunBytes;
  for (int64_t unit = 0; unit < g.units; ++unit) {
    const UnitPanels panels = unit_panels(g, unit);
    starts[static_cast<size_t>(unit) + 1] =
        starts[static_cast<size_t>(unit)] + (panels.last - panels.first) * panel_bytes * groups[unit * 2];
  }
  return starts;
}

void integer_statistics(const uint8_t* words, const Geometry& g, uint8_t flip, uint32_t* levels, int threads) {
  const int64_t blocks = ceil_div(g.columns, kFieldBlockColumns);
  parallel_for(threads, g.units, [&](int64_t unit) {
    // Four interleaved histograms: neighbours are often equal and would wait for each other's store.
    std::vector<uint32_t> counts(static_cast<size_t>(g.segments_per_panel) * 4 * 256, 0);
    const UnitPanels panels = unit_panels(g, unit);
    for (int64_t panel = panels.first; panel < panels.last; ++panel)
      for (int64_t block = 0; block < blocks; ++block) {
        uint32_t* own = counts.data() + (g.segments_per_panel == 1 ? 0 : block / kSegmentBlocks) * 4 * 256;
        for_levels(words, g, panel, block, flip,
                   [&](int position, uint8_t level, bool real) { own[position % 4 * 256 + level] += real; });
      }
    for (int64_t s = 0; s < g.segments_per_panel; ++s)
      for (int i = 0; i < 4 * 256; ++i)
        levels[(unit * g.segments_per_panel + s) * 256 + i % 256] += counts[static_cast<size_t>(s * 4 * 256 + i)];
  });
}

bool integer_encode(const uint8_t* words, const IntegerView& view, uint8_t* fields, uint8_t* positions,
                    uint8_t* escapes, int threads) {
  const Geometry& g = view.geometry;
  std::atomic<bool> same{true};
  parallel_for(threads, g.segments, [&](int64_t segment) {
    const FieldPart part = part_of(view, segment);
    uint8_t* out = fields + (part.fields - view.fields);
    uint64_t at = view.directory[segment];
    const uint64_t end = view.directory[segment + 1];
    const int64_t first_block = part.first_chunk / kFieldBlockChunks;
    for (int64_t p = 0; p < part.panels; ++p)
      for (int64_t block = 0; block < part.blocks; ++block) {
        uint8_t own[kFieldBlockWeights];
        const int64_t first_position = (p * part.chunks + block * kFieldBlockChunks) * kChunkWeights;
        for_levels(words, g, part.first_panel + p, first_block + block, view.flip,
                   [&](int position, uint8_t level, bool real) {
                     const int field = level - part.base;
                     const bool held = field >= 0 && field < 1 << part.bits;
                     own[position] = static_cast<uint8_t>(real && held ? field : 0);
                     if (!real || held) return;
                     if (at == end) {
                       same = false;
                       return;
                     }
                     const auto where = static_cast<uint16_t>(first_position + position);
                     std::memcpy(positions + at * 2, &where, 2);
                     escapes[at++] = level ^ view.flip;
                   });
        pack_block(own, part.bits, out + p * part.panel_bytes + block * kFieldRunBytes * part.bits);
      }
    if (at != end) same = false;
  });
  return same;
}

}  // namespace tersely
