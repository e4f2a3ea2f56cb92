// Opening sparse matrices: chunks whose places hold values, or gaps between the columns of a row's values.
#include "tersely/backends/cpu/matrix/walked_matrix.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/selection/sparse/gaps.hpp"
#include "tersely/codes/selection/sparse/sparse_source.hpp"
#include "tersely/codes/words/integer/integer.hpp"
#include "tersely/codes/words/integer/values.hpp"
#include "tersely/codes/words/palette/values.hpp"

namespace tersely {
namespace {

class GapMatrix final : public CodedMatrix {
 public:
  explicit GapMatrix(const Opening& opening) : offsets_(opening.seen.offsets), is_signed_(opening.dtype == "int8") {
    const Geometry& g = opening.geometry();
    const Components& components = opening.components;
    const Node& child = opening.node.child("values");
    const bool plain = child.formulation == "dense";
    view_.geometry = g;
    view_.dtype = sparse_dtype(opening.dtype);
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
    values_ = coded_values(child, opening.dtype, components.under("values"), groups);
    view_.coded = values_.get();
  }

  const Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.dtype); }
  Products products() const override { return word_bytes() == 1 ? Products::kIntegers : Products::kFloats; }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    gaps_decode_window(view_, active_table(), first_panel, last_panel, first_element, elements, out, threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return gaps_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return gaps_pick_rows(view_, active_table(), wanted, count, out, threads);
  }
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override {
    (transposed ? gaps_linear_transposed : gaps_linear)(view_, active_table(), rows, threads);
  }
  bool multiply_integers(const IntegerRows& rows, int threads) const override {
    require(view_.geometry.count == 1 && word_bytes() == 1, "a product needs a matrix of 8-bit weights");
    require(rows.groups == 1, "gaps have no groups");
    return gaps_integer_linear(view_, is_signed_, active_table(), rows, threads);
  }

 private:
  // Every window must hold each of its rows once: two lanes of one row would be written by two threads, and a row that
  // no lane has would be looked for beyond the lanes.
  void check_rows(const Components& components) const {
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

  const std::shared_ptr<const std::vector<int64_t>> offsets_;
  std::unique_ptr<const ValueSource> values_;
  GapView view_{};
  const bool is_signed_;
};

// Integers of 8 bits under masks.
class SparseIntegerMatrix final : public WalkedMatrix {
 public:
  SparseIntegerMatrix(const Seen& seen, std::unique_ptr<const Source> source, bool is_signed)
      : WalkedMatrix(seen, std::move(source)), is_signed_(is_signed) {}
  Products products() const override { return Products::kIntegers; }
  bool multiply_integers(const IntegerRows& rows, int threads) const override {
    require(geometry().count == 1, "a product needs a matrix");
    require(rows.groups == 1, "sparse integers have no groups");
    return walked_integer_linear(view(), is_signed_, active_table(), rows, threads);
  }

 private:
  const bool is_signed_;
};

}  // namespace

std::unique_ptr<const ValueSource> coded_values(const Node& node, const std::string& dtype,
                                                const Components& components, const std::vector<uint64_t>& groups) {
  if (node.formulation == "split") return std::make_unique<SplitValues>(node, wide_dtype(dtype), components, groups);
  if (node.formulation == "palette")
    return std::make_unique<PaletteValues>(node, wide_dtype(dtype), components, groups);
  require(node.formulation == "integer" && (dtype == "int8" || dtype == "uint8"),
          "values of sparse under an unknown formulation, or one of another dtype");
  return std::make_unique<DistanceValues>(node, components, groups);
}

std::unique_ptr<const Source> sparse_source(const Geometry& g, const Node& node, const std::string& dtype,
                                            const Components& components) {
  const std::string& positions = node.parameters.at("positions").string();
  if (positions == "bitmap") return std::make_unique<BitmapSource>(g, node, dtype, components);
  if (positions == "elias_fano") return std::make_unique<EliasFanoSource>(g, node, dtype, components);
  require(positions == "n_of_m", "sparse has no such positions");
  return std::make_unique<NOfMSource>(g, node, dtype, components);
}

std::unique_ptr<CodedMatrix> open_sparse(const Opening& opening) {
  const std::string& positions = opening.parameters().at("positions").string();
  if (positions == "gaps") return std::make_unique<GapMatrix>(opening);
  auto source = sparse_source(opening.geometry(), opening.node, opening.dtype, opening.components);
  if (sparse_dtype(opening.dtype) != DType::kIndex)
    return std::make_unique<WalkedMatrix>(opening.seen, std::move(source));
  return std::make_unique<SparseIntegerMatrix>(opening.seen, std::move(source), opening.dtype == "int8");
}

}  // namespace tersely
