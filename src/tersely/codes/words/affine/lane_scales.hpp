// Scales of the rows that gaps lay side by side.
#pragma once

#include "tersely/codes/selection/sparse/gaps.hpp"
#include "tersely/codes/words/affine/affine.hpp"

namespace tersely {

class AffineLanes final : public LaneScaling {
 public:
  // dtype: of words.
  AffineLanes(DType dtype, const AffineScales& scales);
  void scales(const int64_t* rows, float* out) const override;
  uint32_t word(int64_t row, int64_t column, int8_t number) const override;

 private:
  const DType dtype_;
  const AffineScales scales_;
};

}  // namespace tersely
