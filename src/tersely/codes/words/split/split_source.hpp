// Words whose exponents are under a code of split, and small symbols that are.
#pragma once

#include <vector>

#include "tersely/backends/cpu/matrix/sources.hpp"
#include "tersely/codes/words/split/parameters.hpp"

namespace tersely {

inline bool panel_is_short(const Streams& s, int64_t panel) {
  return s.short_panels != nullptr && (s.short_panels[panel / 8] >> (panel % 8) & 1) != 0;
}
// Marked panels before each 64-panel word.
std::vector<uint32_t> short_ranks(const uint8_t* bitmap, int64_t bytes);
// Bytes before panel `panel` in the tiles: rank of the short ones among the panels before it.
int64_t panel_offset(const Geometry& geometry, const SplitStreams& coded, int64_t panel);
// Points the cursor at a segment.
void begin_split(const Geometry& geometry, const SplitStreams& coded, const KernelTable& table, int64_t segment,
                 uint8_t* scratch, Cursor& cursor);
// Points the cursor at a panel, whose unit has no other segments; survivors of the panels before it are counted.
void begin_split_panel(const Geometry& geometry, const SplitStreams& coded, const KernelTable& table, int64_t panel,
                       uint8_t* scratch, Cursor& cursor);
// Asks memory for what that will read first, and returns where the segment's tiles begin.
const uint8_t* prefetch_split(const Geometry& geometry, const SplitStreams& coded, int64_t segment);
// One weight, found by rank: reads the planes of its segment before it, decodes nothing else.
uint32_t split_access(const Geometry& geometry, const SplitStreams& coded, int64_t matrix, int64_t row, int64_t column);

class SplitSource : public Source {
 public:
  SplitSource(const Geometry& geometry, const Parameters& parameters, const Components& components);
  // Whole units of one matrix of `whole`, seen as `geometry`: panels from `first_panel` on. Nothing is copied but their
  // bitmap: directory entries count from the beginning of the streams, so they hold for a part as they are.
  SplitSource(const SplitSource& whole, const Geometry& geometry, int64_t first_panel);

  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const override {
    begin_split(geometry_, coded_, table, segment, scratch, cursor);
  }
  bool begin_panel(const KernelTable& table, int64_t panel, uint8_t* scratch, Cursor& cursor) const override {
    begin_split_panel(geometry_, coded_, table, panel, scratch, cursor);
    return true;
  }
  const uint8_t* prefetch(int64_t segment) const override { return prefetch_split(geometry_, coded_, segment); }
  uint32_t access(const KernelTable&, int64_t matrix, int64_t row, int64_t column) const override {
    return split_access(geometry_, coded_, matrix, row, column);
  }

 private:
  void mark_short_panels(const uint8_t* bitmap, int64_t bytes);

  const Geometry geometry_;
  SplitStreams coded_;
  std::vector<uint32_t> ranks_;
  std::vector<uint8_t> bitmap_;  // of a part
};

// Bytes that are all symbol, of a matrix seen as `geometry`.
class SplitSymbols : public SymbolSource {
 public:
  // node: of split.
  SplitSymbols(const Geometry& geometry, const Node& node, const Components& components);
  void expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* symbols) const override;
  uint8_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return static_cast<uint8_t>(split_access(geometry_, coded_, matrix, row, column));
  }
  // Points a cursor at a segment, for kernels that decode symbols themselves.
  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const {
    begin_split(geometry_, coded_, table, segment, scratch, cursor);
  }
  const Parameters& parameters() const { return coded_.parameters; }

 private:
  const Geometry geometry_;
  SplitStreams coded_;
};

}  // namespace tersely
