// The bitmap: one mask word a chunk, in vector order, and the words under its bits. Decoding and products are those of
// split (walk.hpp): a bitmap chunk is one more code of 64 weights. See sparse.hpp.
#include <atomic>
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"
#include "tersely/codes/sparse/sparse.hpp"

namespace tersely {
namespace {

template <class Word, DType D>
bool encode(const uint8_t* words, const Geometry& g, const uint64_t* directory, int64_t granule, uint8_t* masks,
            uint8_t* values, int threads) {
  std::atomic<bool> same{true};
  parallel_for(threads, g.units, [&](int64_t unit) {
    Word tile[4][16];
    const UnitPanels panels = unit_panels(g, unit);
    for (int64_t s = 0; s < g.segments_per_panel; ++s) {
      const uint64_t* entry = directory + unit * g.segments_per_panel + s;
      uint64_t at = entry[0];
      const int64_t begin = s * (kSegmentColumns / kChunkColumns);
      const int64_t end = s + 1 < g.segments_per_panel ? begin + kSegmentColumns / kChunkColumns : g.chunks_per_panel;
      for (int64_t panel = panels.first; panel < panels.last; ++panel)
        for (int64_t chunk = begin; chunk < end; ++chunk) {
          gather_tile(words, g, panel, chunk * 4, 4, tile);
          Word ordered[64];
          uint64_t mask = 0;
          for (int column = 0; column < 4; ++column)
            for (int row = 0; row < 16; ++row) {
              const int place = vector_position(D, row, column);
              ordered[place] = tile[column][row];
              mask |= static_cast<uint64_t>(tile[column][row] != 0) << place;
            }
          std::memcpy(masks + (panel * g.chunks_per_panel + chunk) * 8, &mask, 8);
          if (entry[1] - at < static_cast<uint64_t>(std::popcount(mask))) {
            same = false;
            return;
          }
          for (; mask != 0; mask &= mask - 1, ++at)
            std::memcpy(values + at * sizeof(Word), ordered + std::countr_zero(mask), sizeof(Word));
        }
      const auto filled = static_cast<uint64_t>(granule);
      if (entry[0] + (at - entry[0] + filled - 1) / filled * filled != entry[1]) {
        same = false;
        return;
      }
      for (; at < entry[1]; ++at)
        std::memcpy(values + at * sizeof(Word), values + (at - 1) * sizeof(Word), sizeof(Word));
    }
  });
  return same;
}

uint64_t mask_at(const SplitView& view, int64_t panel, int64_t chunk) {
  uint64_t mask;
  std::memcpy(&mask, view.streams.tiles + (panel * view.geometry.chunks_per_panel + chunk) * 8, 8);
  return mask;
}

}  // namespace

bool bitmap_encode(const uint8_t* words, const Geometry& g, DType dtype, const uint64_t* directory, int64_t granule,
                   uint8_t* masks, uint8_t* values, int threads) {
  switch (dtype) {
    case DType::kFloat32:
      return encode<uint32_t, DType::kFloat32>(words, g, directory, granule, masks, values, threads);
    case DType::kBfloat16:
      return encode<uint16_t, DType::kBfloat16>(words, g, directory, granule, masks, values, threads);
    case DType::kIndex:
      return encode<uint8_t, DType::kIndex>(words, g, directory, granule, masks, values, threads);
    default:
      return encode<uint16_t, DType::kFloat16>(words, g, directory, granule, masks, values, threads);
  }
}

uint32_t bitmap_access(const SplitView& view, int64_t matrix, int64_t row, int64_t column) {
  const Geometry& g = view.geometry;
  const DType dtype = view.parameters.dtype;
  const int64_t panel = matrix * g.panels_per_matrix + row / kPanelRows, chunk = column / kChunkColumns;
  const int place = vector_position(dtype, static_cast<int>(row % 16), static_cast<int>(column % 4));
  const uint64_t own = mask_at(view, panel, chunk), bit = uint64_t{1} << place;
  if ((own & bit) == 0) return 0;
  const int64_t unit = unit_of_panel(g, panel);
  const int64_t part = g.segments_per_panel == 1 ? 0 : chunk / (kSegmentColumns / kChunkColumns);
  auto rank = static_cast<uint64_t>(std::popcount(own & (bit - 1)));
  for (int64_t q = unit_panels(g, unit).first; q <= panel; ++q) {
    const int64_t to = q == panel ? chunk : g.chunks_per_panel;
    for (int64_t j = part * (kSegmentColumns / kChunkColumns); j < to; ++j)
      rank += static_cast<uint64_t>(std::popcount(mask_at(view, q, j)));
  }
  const uint64_t* entry = view.streams.directory + unit * g.segments_per_panel + part;
  if (rank >= entry[1] - entry[0]) return 0;  // only in a damaged file
  return value_at(view, unit * g.segments_per_panel + part, rank);
}

uint32_t value_at(const SplitView& view, int64_t segment, uint64_t index) {
  if (view.values != nullptr) return view.values->access(value_groups(view, segment), static_cast<int64_t>(index));
  const auto word_bytes = static_cast<size_t>(kFields[static_cast<int>(view.parameters.dtype)].word_bytes);
  uint32_t word = 0;
  std::memcpy(&word, view.streams.escapes + (view.streams.directory[segment] + index) * word_bytes, word_bytes);
  return word;
}

}  // namespace tersely
