// Walking a coded matrix: the loop over segments that every operator shares.
#pragma once

#include "tersely/backends/cpu/matrix/view.hpp"

namespace tersely {

// Points the cursor at a segment, all values of which are ready.
inline void begin_segment(const Source& source, const KernelTable& table, int64_t segment, uint8_t* scratch,
                          Cursor& cursor) {
  source.begin(table, segment, scratch, cursor);
  if (source.step() != 0) source.make_ready(table, Source::kAllChunks, scratch, cursor);
}

// Calls f(panel, first_chunk, chunks, kernels, cursor) for each panel and segment of a unit, or pieces of it, in order;
// f must decode all its chunks with `kernels`, which moves the cursor on.
template <class F>
void walk_unit(const MatrixView& view, const KernelTable& table, int64_t unit, uint8_t* scratch, F&& f) {
  const Geometry& g = view.geometry;
  const Source& source = view.source;
  const UnitPanels panels = unit_panels(g, unit);
  const auto& kernels = source.kernels(table);
  const int64_t ready = source.step();
  Cursor cursor{nullptr, nullptr, nullptr};
  for (int64_t s = 0; s < g.segments_per_panel; ++s) {
    source.begin(table, unit * g.segments_per_panel + s, scratch, cursor);
    const int64_t first_chunk = s * (kSegmentColumns / kChunkColumns);
    const int64_t chunks = g.segments_per_panel == 1
                               ? g.chunks_per_panel
                               : std::min(kSegmentColumns / kChunkColumns, g.chunks_per_panel - first_chunk);
    const int64_t step = ready != 0 ? ready : chunks;
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      const CodeKernels& own = kernels[static_cast<int>(source.tail(panel))];
      for (int64_t done = 0; done < chunks; done += step) {
        const int64_t piece = std::min(step, chunks - done);
        if (ready != 0) source.make_ready(table, piece, scratch, cursor);
        f(panel, first_chunk + done, piece, own, cursor);
      }
    }
  }
}

}  // namespace tersely
