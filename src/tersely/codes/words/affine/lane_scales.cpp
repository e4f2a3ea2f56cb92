// See lane_scales.hpp.
#include "tersely/codes/words/affine/lane_scales.hpp"

#include <bit>
#include <cstring>

#include "tersely/codes/words/affine/words.hpp"

namespace tersely {
namespace {

float scale_at(const AffineScales& scales, int64_t row, int64_t group) {
  const int64_t at = (row / kPanelRows * scales.groups + group) * kPanelRows + row % kPanelRows;
  uint32_t word = 0;
  if (scales.dtype == DType::kFloat32) {
    std::memcpy(&word, scales.scales + at * 4, 4);
  } else {
    std::memcpy(&word, scales.scales + at * 2, 2);
  }
  return value_of(scales.dtype, word);
}

}  // namespace

// Groups of columns are powers of two.
AffineLanes::AffineLanes(DType dtype, const AffineScales& scales)
    : LaneScaling(scales.groups, scales.groups == 1
                                     ? kOneScale
                                     : std::countr_zero(static_cast<uint64_t>(scales.group_chunks * kChunkColumns))),
      dtype_(dtype),
      scales_(scales) {}

void AffineLanes::scales(const int64_t* rows, float* out) const {
  for (int64_t lane = 0; lane < kPanelRows; ++lane)
    for (int64_t group = 0; group < groups; ++group)
      out[group * kPanelRows + lane] = scale_at(scales_, rows[lane], group);
}

uint32_t AffineLanes::word(int64_t row, int64_t column, int8_t number) const {
  return word_of(dtype_, scale_at(scales_, row, column >> shift) * static_cast<float>(number));
}

}  // namespace tersely
