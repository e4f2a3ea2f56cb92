// Palettes whose words are a grid: word = scale (number - zero), rounded, with the number as index. The numbers are
// held as `integer`, and few rows of x are multiplied by them as they are; everything else looks words up.
#pragma once

#include "tersely/backends/cpu/matrix/operators.hpp"
#include "tersely/codes/words/integer/fields.hpp"

namespace tersely {

// Numbers as the indices of a palette.
class GridIndices : public SymbolSource {
 public:
  explicit GridIndices(std::shared_ptr<const IntegerFields> numbers) : numbers_(std::move(numbers)) {}
  void expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* indices) const override {
    integer_segment(numbers_->view(), table, segment, scratch, indices);
  }
  uint8_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return static_cast<uint8_t>(integer_access(numbers_->view(), matrix, row, column));
  }

 private:
  const std::shared_ptr<const IntegerFields> numbers_;
};

struct GridView {
  const MatrixView& words;
  const IntegerView& numbers;
  double scale;
  int32_t zero;
};

// y = x w^T. Up to kGridRows rows of finite x the bits do not depend on the instruction set.
void grid_linear(const GridView& view, const KernelTable& table, const Rows& rows, int threads);

}  // namespace tersely
