// See dense_matrix.hpp.
#include "tersely/codes/words/integer/dense_matrix.hpp"

#include <algorithm>
#include <cstring>

#include "tersely/codes/words/integer/integer.hpp"

namespace tersely {
namespace {

class DenseMatrix final : public CodedMatrix {
 public:
  DenseMatrix(const Geometry& geometry, const uint8_t* bytes, int64_t word_bytes, bool is_signed)
      : geometry_(geometry), bytes_(bytes), word_bytes_(word_bytes), is_signed_(is_signed) {}
  const Geometry& geometry() const override { return geometry_; }
  int64_t word_bytes() const override { return word_bytes_; }
  Products products() const override { return word_bytes_ == 1 ? Products::kIntegers : Products::kNone; }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int /*threads*/) const override {
    const int64_t begin = std::max(first_element, first_panel * kPanelRows * geometry_.columns);
    const int64_t end = std::min(
        {first_element + elements, last_panel * kPanelRows * geometry_.columns, geometry_.rows * geometry_.columns});
    if (begin < end) copy(begin, end - begin, out + (begin - first_element) * word_bytes_);
  }
  uint32_t access(int64_t, int64_t row, int64_t column) const override {
    uint32_t word = 0;
    std::memcpy(&word, bytes_ + (row * geometry_.columns + column) * word_bytes_, static_cast<size_t>(word_bytes_));
    return word;
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int /*threads*/) const override {
    for (int64_t i = 0; i < count; ++i)
      if (wanted[i] < 0 || wanted[i] >= geometry_.rows) return i;
    for (int64_t i = 0; i < count; ++i)
      copy(wanted[i] * geometry_.columns, geometry_.columns, out + i * geometry_.columns * word_bytes_);
    return -1;
  }
  bool multiply_integers(const IntegerRows& rows, int threads) const override {
    require(word_bytes_ == 1 && rows.groups == 1, "a product needs a matrix of 8-bit weights, without groups");
    return dense_integer_linear(bytes_, is_signed_, geometry_.rows, geometry_.columns, active_table(), rows, threads);
  }

 private:
  void copy(int64_t first, int64_t count, uint8_t* out) const {
    std::memcpy(out, bytes_ + first * word_bytes_, static_cast<size_t>(count * word_bytes_));
  }

  const Geometry geometry_;
  const uint8_t* const bytes_;
  const int64_t word_bytes_;
  const bool is_signed_;
};

}  // namespace

std::unique_ptr<CodedMatrix> open_dense_integers(const Opening& opening) {
  const std::string& dtype = opening.dtype;
  const bool narrow = dtype == "int8" || dtype == "uint8";
  require(narrow || dtype == "int16" || dtype == "uint16", "a dense matrix inside another one has integers");
  const Geometry& g = opening.geometry();
  require(g.count == 1 && opening.view == "matrix" && g.column_stride == 1, "a dense matrix is stored by rows");
  const int64_t word_bytes = narrow ? 1 : 2;
  const uint8_t* bytes =
      opening.components.stream("bytes", checked_product(checked_product(g.rows, g.columns), word_bytes));
  return std::make_unique<DenseMatrix>(g, bytes, word_bytes, dtype[0] != 'u');
}

}  // namespace tersely
