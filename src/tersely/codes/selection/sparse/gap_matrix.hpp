// A matrix under gaps, and one of which the values are numbers that are scaled.
#pragma once

#include <memory>
#include <string>

#include "tersely/backends/cpu/matrix/coded_matrix.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"
#include "tersely/codes/selection/sparse/gaps.hpp"

namespace tersely {

class GapMatrix final : public CodedMatrix, private GapLanes {
 public:
  // dtype: of the values, as descriptions have it.
  GapMatrix(const Seen& seen, const Node& node, const std::string& dtype, const Components& components);
  // The same of int8, which `scaling` makes words of `words` of.
  GapMatrix(const Seen& seen, const Node& node, DType words, const Components& components,
            std::unique_ptr<const LaneScaling> scaling);

  const Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.dtype); }
  DType dtype() const override { return view_.dtype; }
  Products products() const override { return word_bytes() == 1 ? Products::kIntegers : Products::kFloats; }
  const GapLanes* gaps() const override { return this; }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override;
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override;
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override;
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override;
  bool multiply_integers(const IntegerRows& rows, int threads) const override;

 private:
  int64_t row(int64_t group, int lane) const override { return matrix_row(view_.geometry, view_.rows, group, lane); }
  int64_t blocks(int64_t group) const override {
    return static_cast<int64_t>(view_.directory[group + 1] - view_.directory[group]);
  }
  GapEntries entries(const KernelTable& table, int64_t group) const override {
    return word_entries(view_, table, group);
  }
  void check_rows(const Components& components) const;

  const std::shared_ptr<const std::vector<int64_t>> offsets_;
  std::unique_ptr<const ValueSource> values_;
  std::unique_ptr<const LaneScaling> scaling_;
  GapView view_{};
  const bool is_signed_;
};

}  // namespace tersely
