// A part of a value or constant seen through strides: what steps read and write whose operands lie in no layout of
// theirs - halves of channels, turned axes, one number for a whole axis.
#pragma once

#include <vector>

#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {

// Numbers from the operand's beginning to its first number, and from one number to the next along each axis.
class Strided {
 public:
  // Of members NAME (a value) or NAME_constant, NAME_at and NAME_strides. Throws std::invalid_argument where a number
  // along `sizes` would lie outside of the operand. bytes: of a value of bytes, and no constant.
  Strided(const StepText& text, const std::string& name, const std::vector<int64_t>& sizes, bool bytes = false);

  const float* read(const Run& run) const { return (constant_ != nullptr ? constant_ : run.floats(value_)) + at_; }
  float* write(const Run& run) const { return run.floats(value_) + at_; }
  bool is_constant() const { return constant_ != nullptr; }
  const Value& value() const { return value_; }
  int64_t first() const { return at_; }
  int64_t stride(size_t axis) const { return strides_[axis]; }
  // Of item `item` of all but the last `inner` axes, counted in order.
  int64_t offset(int64_t item, const std::vector<int64_t>& sizes, size_t inner) const;

 private:
  const float* constant_ = nullptr;
  Value value_{};
  int64_t at_;
  std::vector<int64_t> strides_;
};

// Positive sizes whose product is a number of floats that memory may have.
std::vector<int64_t> sizes_of(const StepText& text, const char* member);
int64_t product_of(const std::vector<int64_t>& sizes, size_t first, size_t last);

}  // namespace tersely
