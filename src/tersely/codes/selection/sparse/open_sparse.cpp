// Opening sparse matrices: chunks whose places hold values, or gaps between the columns of a row's values.
#include "tersely/backends/cpu/matrix/walked_matrix.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/selection/sparse/gap_matrix.hpp"
#include "tersely/codes/selection/sparse/sparse_source.hpp"
#include "tersely/codes/words/integer/integer.hpp"
#include "tersely/codes/words/integer/values.hpp"
#include "tersely/codes/words/palette/values.hpp"

namespace tersely {
namespace {

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
  if (positions == "gaps")
    return std::make_unique<GapMatrix>(opening.seen, opening.node, opening.dtype, opening.components);
  auto source = sparse_source(opening.geometry(), opening.node, opening.dtype, opening.components);
  if (sparse_dtype(opening.dtype) != DType::kIndex)
    return std::make_unique<WalkedMatrix>(opening.seen, std::move(source));
  return std::make_unique<SparseIntegerMatrix>(opening.seen, std::move(source), opening.dtype == "int8");
}

}  // namespace tersely
