// Encoding n of m: codes of n columns among each m of a row, and their words, block after block of m columns and 16
// rows. A product chooses among the m values of x; weights are never spread out. See sparse.hpp.
#include <atomic>
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/codes/selection/sparse/sparse.hpp"

namespace tersely {
namespace {

template <class Word>
bool encode(const uint8_t* words, const Geometry& g, const Parameters& p, const uint64_t* starts, int64_t granule,
            uint8_t* codes, uint8_t* values, int threads) {
  const int n = p.n, m = p.m, block_chunks = m / static_cast<int>(kChunkColumns);
  uint8_t number[256] = {};
  for (int code = (1 << p.n_of_m_bits) - 1; code >= 0; --code) number[p.selections[code]] = static_cast<uint8_t>(code);
  std::atomic<bool> fits{true};
  parallel_for(threads, g.units, [&](int64_t unit) {
    if (!fits.load(std::memory_order_relaxed)) return;
    Word tile[8][16];
    const UnitPanels panels = unit_panels(g, unit);
    for (int64_t s = 0; s < g.segments_per_panel; ++s) {
      const int64_t segment = unit * g.segments_per_panel + s, begin = s * (kSegmentColumns / kChunkColumns);
      const int64_t end = s + 1 < g.segments_per_panel ? begin + kSegmentColumns / kChunkColumns : g.chunks_per_panel;
      auto* out = reinterpret_cast<Word*>(values) + starts[segment];
      Word* const first = out;
      for (int64_t panel = panels.first; panel < panels.last; ++panel)
        for (int64_t chunk = begin; chunk < end; chunk += block_chunks, out += 16 * n) {
          gather_tile(words, g, panel, chunk * 4, m, tile);
          const int64_t block = chunk / block_chunks;
          uint8_t* lanes = codes + panel * p.panel_bytes + block / 8 * 16 * p.n_of_m_bits;
          for (int row = 0; row < 16; ++row) {
            unsigned chosen = 0;
            for (int column = 0; column < m; ++column)
              chosen |= static_cast<unsigned>(tile[column][row] != 0) << column;
            if (std::popcount(chosen) > n) {
              fits = false;
              return;
            }
            for (int column = 0; std::popcount(chosen) < n; ++column) chosen |= 1u << column;
            const uint64_t code = uint64_t{number[chosen]} << (block % 8 * p.n_of_m_bits);
            for (int byte = 0; byte < p.n_of_m_bits; ++byte)
              lanes[row * p.n_of_m_bits + byte] |= static_cast<uint8_t>(code >> (8 * byte));
            for (int slot = 0; slot < n; ++slot, chosen &= chosen - 1)
              out[slot_position(p.dtype, n, row, slot)] = tile[std::countr_zero(chosen)][row];
          }
        }
      const int64_t missing = (granule - (out - first) % granule) % granule;
      for (int64_t i = 0; i < missing; ++i, ++out) *out = out[-1];
    }
  });
  return fits;
}

}  // namespace

bool n_of_m_encode(const uint8_t* words, const Geometry& g, const Parameters& p, const uint64_t* starts,
                   int64_t granule, uint8_t* codes, uint8_t* values, int threads) {
  if (kFields[static_cast<int>(p.dtype)].word_bytes == 4)
    return encode<uint32_t>(words, g, p, starts, granule, codes, values, threads);
  return encode<uint16_t>(words, g, p, starts, granule, codes, values, threads);
}

}  // namespace tersely
