// Encoding the bitmap: one mask word a chunk, in vector order, and the words under its bits. See sparse.hpp.
#include <atomic>
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/codes/selection/sparse/sparse.hpp"

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
              const int position = vector_position(D, row, column);
              ordered[position] = tile[column][row];
              mask |= static_cast<uint64_t>(tile[column][row] != 0) << position;
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

}  // namespace tersely
