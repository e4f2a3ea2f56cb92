// Bytes that hold two 4-bit values each, read through the matrix of their values, which has twice as many columns: the
// low half of a byte, then its high half. FORMAT: docs/FORMAT.md, "Integers".
#pragma once

#include "tersely/backends/cpu/matrix/coded_matrix.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"

namespace tersely {

class NibbleMatrix final : public CodedMatrix {
 public:
  // folded: how bytes are seen, whose rows are no rows of the values then. is_signed: bit 3 of the values is inverted.
  NibbleMatrix(const Seen& seen, bool folded, std::unique_ptr<const CodedMatrix> values, bool is_signed)
      : geometry_(seen.geometry), folded_(folded), values_(std::move(values)), flip_(is_signed ? 8 : 0) {}

  const Geometry& geometry() const override { return geometry_; }
  int64_t word_bytes() const override { return 1; }
  Products products() const override {
    const bool fields = values_->products() == Products::kIntegers;
    return fields && !folded_ && geometry_.count == 1 ? Products::kNibbles : Products::kNone;
  }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override;
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override;
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override;
  bool multiply_nibbles(const IntegerRows& rows, bool is_signed, int threads) const override;

 private:
  void put_together(const uint8_t* values, int64_t count, uint8_t* out) const;

  const Geometry geometry_;
  const bool folded_;
  const std::unique_ptr<const CodedMatrix> values_;
  const uint8_t flip_;
};

}  // namespace tersely
