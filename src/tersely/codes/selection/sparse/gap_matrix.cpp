// See gap_matrix.hpp.
#include "tersely/codes/selection/sparse/gap_matrix.hpp"

#include <algorithm>

#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/selection/sparse/sparse_source.hpp"

namespace tersely {

GapMatrix::GapMatrix(const Seen& seen, const Node& node, const std::string& dtype, const Components& components)
    : offsets_(seen.offsets), is_signed_(dtype == "int8") {
  const Geometry& g = seen.geometry;
  const Node& child = node.child("values");
  const bool plain = child.formulation == "dense";
  view_.geometry = g;
  view_.dtype = sparse_dtype(dtype);
  // No row has more entries than columns; coded ones fit the room that they are decoded to.
  view_.directory =
      components.directory(g.panels, 1, plain ? g.chunks_per_panel : std::min(kSegmentChunks, g.chunks_per_panel));
  const auto entries = checked_product(static_cast<int64_t>(view_.directory[g.panels]), kChunkWeights);
  view_.gaps = components.stream("gaps", entries);
  view_.rows = components.index("rows", checked_product(g.panels, kPanelRows));
  check_rows(components);
  if (plain) {
    view_.values = components.stream("values.bytes", checked_product(entries, word_bytes()));
    return;
  }
  const std::vector<uint64_t> groups(view_.directory, view_.directory + g.panels + 1);
  values_ = coded_values(child, dtype, components.under("values"), groups);
  view_.coded = values_.get();
}

GapMatrix::GapMatrix(const Seen& seen, const Node& node, DType words, const Components& components,
                     std::unique_ptr<const LaneScaling> scaling)
    : GapMatrix(seen, node, "int8", components) {
  scaling_ = std::move(scaling);
  view_.scaling = scaling_.get();
  view_.dtype = words;
}

void GapMatrix::decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements,
                              uint8_t* out, int threads) const {
  gaps_decode_window(view_, active_table(), first_panel, last_panel, first_element, elements, out, threads);
}

uint32_t GapMatrix::access(int64_t matrix, int64_t row, int64_t column) const {
  return gaps_access(view_, matrix, row, column);
}

int64_t GapMatrix::pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const {
  return gaps_pick_rows(view_, active_table(), wanted, count, out, threads);
}

void GapMatrix::multiply_rows(const Rows& rows, int threads, bool transposed) const {
  (transposed ? gaps_linear_transposed : gaps_linear)(view_, active_table(), rows, threads);
}

bool GapMatrix::multiply_integers(const IntegerRows& rows, int threads) const {
  require(view_.geometry.count == 1 && word_bytes() == 1, "a product needs a matrix of 8-bit weights");
  require(rows.groups == 1, "gaps have no groups");
  return gaps_integer_linear(view_, is_signed_, active_table(), rows, threads);
}

// Every window must hold each of its rows once: two lanes of one row would be written by two threads, and a row that
// no lane has would be looked for beyond the lanes.
void GapMatrix::check_rows(const Components& components) const {
  const Geometry& g = view_.geometry;
  for (int64_t matrix = 0; matrix < g.count && g.panels_per_matrix > 0; ++matrix)
    for (int64_t first = 0; first < g.panels_per_matrix; first += kWindowRows / kPanelRows) {
      bool seen[kWindowRows] = {};
      const int64_t lanes = std::min(kWindowRows, (g.panels_per_matrix - first) * kPanelRows);
      const uint8_t* rows = view_.rows + (matrix * g.panels_per_matrix + first) * kPanelRows;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        if (rows[lane] >= lanes || seen[rows[lane]])
          components.refuse("rows", "has a window that does not hold each of its rows once");
        seen[rows[lane]] = true;
      }
    }
}

}  // namespace tersely
