// Opening the rows and columns of a matrix that are kept.
#include "tersely/codes/opening.hpp"
#include "tersely/codes/selection/submatrix/submatrix.hpp"
#include "tersely/codes/words/integer/dense_matrix.hpp"

namespace tersely {
namespace {

class SubMatrix final : public CodedMatrix {
 public:
  SubMatrix(const Geometry& geometry, std::unique_ptr<const CodedMatrix> kept, std::vector<int64_t> rows,
            std::vector<int64_t> columns)
      : kept_(std::move(kept)),
        rows_(std::move(rows)),
        columns_(std::move(columns)),
        view_{geometry, kept_.get(), rows_.data(), columns_.data()} {}
  const Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return view_.kept->word_bytes(); }
  DType dtype() const override { return view_.kept->dtype(); }
  Products products() const override { return view_.kept->products(); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    submatrix_decode_window(view_, first_panel, last_panel, first_element, elements, out, threads);
  }
  uint32_t access(int64_t, int64_t row, int64_t column) const override { return submatrix_access(view_, row, column); }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return submatrix_pick_rows(view_, wanted, count, out, threads);
  }
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override {
    submatrix_linear(view_, rows, threads, transposed);
  }
  bool multiply_integers(const IntegerRows& rows, int threads) const override {
    require(products() == Products::kIntegers, "a product needs a matrix of 8-bit weights");
    require(rows.groups == 1 && rows.picked == nullptr, "a submatrix has no groups, and keeps no submatrix");
    return submatrix_integer_linear(view_, rows, threads);
  }

 private:
  const std::unique_ptr<const CodedMatrix> kept_;
  const std::vector<int64_t> rows_, columns_;
  const SubmatrixView view_;
};

// The positions of a component's set bits, which are as many as the node says.
std::vector<int64_t> set_bits(const Opening& opening, const char* name, int64_t all) {
  const int64_t kept = opening.parameters().at(name).number();
  const uint8_t* bits = opening.components.index(name, ceil_div(all, 8));
  std::vector<int64_t> found;
  for (int64_t bit = 0; bit < all; ++bit)
    if (bits[bit / 8] >> bit % 8 & 1) found.push_back(bit);
  if (static_cast<int64_t>(found.size()) != kept)
    opening.components.refuse(name, "keeps another number than the node says");
  return found;
}

}  // namespace

std::unique_ptr<CodedMatrix> open_submatrix(const Opening& opening) {
  const Geometry& g = opening.geometry();
  require(g.count == 1 && opening.view != "folded" && g.column_offsets == nullptr,
          "submatrix codes one matrix, its columns as they are");
  auto rows = set_bits(opening, "rows", g.rows), columns = set_bits(opening, "columns", g.columns);
  const std::vector<int64_t> shape = {static_cast<int64_t>(rows.size()), static_cast<int64_t>(columns.size())};
  const Node& child = opening.node.child("kept");
  require(child.formulation != "submatrix", "a submatrix keeps no submatrix");
  const std::string view = "matrix";
  const Seen seen = see(shape, view, "out_in", "as_is");
  const Components below = opening.components.under("kept");
  const Opening inner{child, opening.dtype, shape, view, seen, below};
  auto kept = child.formulation == "dense" ? open_dense_integers(inner) : open_node(inner);
  require(kept->products() != Products::kNibbles, "a submatrix keeps no pairs of 4-bit values");
  return std::make_unique<SubMatrix>(g, std::move(kept), std::move(rows), std::move(columns));
}

}  // namespace tersely
