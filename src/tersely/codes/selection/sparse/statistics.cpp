// Counting what is not zero, by segment for the bitmap and by row for the gaps. See sparse.hpp.
#include <atomic>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/codes/selection/sparse/sparse.hpp"

namespace tersely {
namespace {

template <class Word>
void count(const uint8_t* words, const Geometry& g, uint32_t* counts, uint32_t* entries, int threads) {
  parallel_for(threads, g.units, [&](int64_t unit) {
    Word tile[32][16];
    const UnitPanels panels = unit_panels(g, unit);
    for (int64_t s = 0; s < g.segments_per_panel; ++s) counts[unit * g.segments_per_panel + s] = 0;
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      uint32_t rows[16] = {};
      int64_t last[16] = {};
      for (int64_t column = 0; column < g.columns; column += 32) {
        const int columns = static_cast<int>(std::min<int64_t>(32, g.columns - column));
        gather_tile(words, g, panel, column, columns, tile);
        uint32_t found = 0;
        for (int c = 0; c < columns; ++c)
          for (int row = 0; row < 16; ++row) {
            if (tile[c][row] == 0) continue;
            const int64_t gap = column + c - last[row];
            last[row] = column + c;
            rows[row] += 1 + static_cast<uint32_t>(gap > 255 ? (gap - 1) / 255 : 0);
            ++found;
          }
        counts[unit * g.segments_per_panel + (g.segments_per_panel == 1 ? 0 : column / kSegmentColumns)] += found;
      }
      std::memcpy(entries + panel * 16, rows, sizeof rows);
    }
  });
}

}  // namespace

void sparse_statistics(const uint8_t* words, const Geometry& g, DType dtype, uint32_t* counts, uint32_t* entries,
                       int threads) {
  const int word_bytes = kFields[static_cast<int>(dtype)].word_bytes;
  if (word_bytes == 4) return count<uint32_t>(words, g, counts, entries, threads);
  if (word_bytes == 1) return count<uint8_t>(words, g, counts, entries, threads);
  count<uint16_t>(words, g, counts, entries, threads);
}

}  // namespace tersely
