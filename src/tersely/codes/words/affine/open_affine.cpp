// Opening scale x (number - zero).
#include "tersely/backends/cpu/matrix/walked_matrix.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/selection/sparse/gap_matrix.hpp"
#include "tersely/codes/selection/sparse/sparse_source.hpp"
#include "tersely/codes/words/affine/affine.hpp"
#include "tersely/codes/words/affine/lane_scales.hpp"

namespace tersely {
namespace {

class AffineMatrix final : public WalkedMatrix {
 public:
  AffineMatrix(const Seen& seen, std::unique_ptr<const Source> words, const AffineScales& scales,
               const RowFieldNumbers* lines)
      : WalkedMatrix(seen, std::move(words)), scales_(scales), lines_(lines) {}
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override {
    if (transposed) return linear_transposed(view(), active_table(), rows, threads);
    affine_linear({view(), lines_, scales_}, active_table(), rows, threads);
  }

 private:
  const AffineScales scales_;
  const RowFieldNumbers* const lines_;  // of the source's numbers
};

}  // namespace

std::unique_ptr<CodedMatrix> open_affine(const Opening& opening) {
  const Geometry& g = opening.geometry();
  const Json& parameters = opening.parameters();
  const Components& components = opening.components;
  AffineScales scales{};
  scales.dtype = wide_dtype(parameters.at("scale_dtype").string());
  scales.group_chunks = group_chunks_of(g, parameters.at("columns").number());
  scales.groups = groups_of(g, scales.group_chunks);
  const int64_t count = checked_product(checked_product(g.panels, scales.groups), kPanelRows);
  scales.scales = components.index("scales", checked_product(count, word_bytes_of(scales.dtype)));
  if (const Json* zero = parameters.find("zero")) {
    require(zero->number() >= -65536 && zero->number() <= 65536, "the zero is out of range");
    scales.zero = static_cast<int32_t>(zero->number());
  } else {
    scales.zeros = components.index("zeros", checked_product(count, 2));
  }
  if (parameters.flag("signed_zeros")) {
    scales.directory = components.directory(g.segments, 1, kSegmentWeights / 8);
    scales.signs = components.stream("signs", static_cast<int64_t>(scales.directory[g.segments]));
  }
  const DType dtype = wide_dtype(opening.dtype);
  const auto opened = [&](std::unique_ptr<const Source> words, const RowFieldNumbers* lines) {
    return std::make_unique<AffineMatrix>(opening.seen, std::move(words), scales, lines);
  };
  if (opening.node.children.empty() || opening.node.child("numbers").formulation != "sparse") {
    const SmallNumbers numbers = small_numbers(g, opening.node, components, "numbers");
    return opened(std::make_unique<AffineSource>(g, dtype, scales, numbers.source, false), numbers.lines);
  }
  require(scales.signs == nullptr, "sparse numbers have no signs of zeros");
  const Node& child = opening.node.child("numbers");
  const bool is_signed = scales.zeros == nullptr && scales.zero == kSignedZero;
  if (child.parameters.at("positions").string() == "gaps") {
    require(is_signed, "numbers under gaps are signed bytes");
    auto lanes = std::make_unique<AffineLanes>(dtype, scales);
    return std::make_unique<GapMatrix>(opening.seen, child, dtype, components.under("numbers"), std::move(lanes));
  }
  auto numbers = sparse_source(g, child, "int8", components.under("numbers"));
  if (is_signed) return opened(std::make_unique<SparseAffineSource>(g, dtype, scales, std::move(numbers)), nullptr);
  auto symbols = std::make_shared<SourceSymbols>(g, std::move(numbers));
  return opened(std::make_unique<AffineSource>(g, dtype, scales, std::move(symbols), true), nullptr);
}

}  // namespace tersely
