// Opening palettes; those whose words are a grid hold their indices as fields of integer.
#include <bit>

#include "tersely/backends/cpu/matrix/walked_matrix.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/words/palette/grid.hpp"
#include "tersely/codes/words/palette/palette_source.hpp"

namespace tersely {
namespace {

// The scale of a grid: the digits of its bits.
double scale_of(const std::string& digits) {
  require(digits.size() == 16, "the scale of a grid has 16 hexadecimal digits");
  uint64_t bits = 0;
  for (const char c : digits) {
    const bool decimal = c >= '0' && c <= '9';
    require(decimal || (c >= 'a' && c <= 'f'), "the scale of a grid has 16 hexadecimal digits");
    bits = bits << 4 | static_cast<uint64_t>(decimal ? c - '0' : c - 'a' + 10);
  }
  return std::bit_cast<double>(bits);
}

class GridMatrix final : public WalkedMatrix {
 public:
  GridMatrix(const Seen& seen, std::unique_ptr<const Source> source, std::shared_ptr<const IntegerFields> numbers,
             double scale, int32_t zero)
      : WalkedMatrix(seen, std::move(source)), numbers_(std::move(numbers)), scale_(scale), zero_(zero) {}
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override {
    if (transposed) return linear_transposed(view(), active_table(), rows, threads);
    grid_linear({view(), numbers_->view(), scale_, zero_}, active_table(), rows, threads);
  }

 private:
  const std::shared_ptr<const IntegerFields> numbers_;
  const double scale_;
  const int32_t zero_;
};

}  // namespace

std::unique_ptr<CodedMatrix> open_palette(const Opening& opening) {
  const DType dtype = wide_dtype(opening.dtype);
  const Geometry& g = opening.geometry();
  const Components& components = opening.components;
  const int64_t entries = opening.parameters().at("entries").number();
  if (opening.node.children.empty())
    return std::make_unique<WalkedMatrix>(opening.seen, std::make_unique<PackedPalette>(g, dtype, components, entries));
  const Node& indices = opening.node.child("indices");
  if (indices.formulation != "integer")
    return std::make_unique<WalkedMatrix>(opening.seen,
                                          std::make_unique<CodedPalette>(g, dtype, components, entries, indices));
  require(indices.children.empty(), "palette holds its indices as fields of 'integer' only");
  const int64_t zero = opening.parameters().at("zero").number();
  require(zero >= -65536 && zero <= 65536, "the zero of a grid is out of range");
  auto numbers = std::make_shared<const IntegerFields>(g, "uint8", components.under("indices"));
  auto source = std::make_unique<HeldPalette>(g, dtype, components, entries, std::make_unique<GridIndices>(numbers));
  return std::make_unique<GridMatrix>(opening.seen, std::move(source), numbers,
                                      scale_of(opening.parameters().at("scale").string()), static_cast<int32_t>(zero));
}

}  // namespace tersely
