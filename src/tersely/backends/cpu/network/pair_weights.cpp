// See pair_weights.hpp.
#include "tersely/backends/cpu/network/pair_weights.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <tuple>

namespace tersely {

PairWeights::PairWeights(const MatrixView* coded, const ConvolutionWeights& weights, int64_t taps)
    : coded_(coded),
      panels_(static_cast<int64_t>(weights.reads().first.size())),
      channels_(weights.reads().channels),
      first_(weights.reads().first) {
  if (coded != nullptr && (coded->dtype != DType::kBfloat16 || coded->folding != nullptr ||
                           coded->source.parameters().dtype != DType::kBfloat16))
    throw std::invalid_argument("the weight's words are not bfloat16");
  const std::vector<int64_t>& columns = weights.reads().columns;
  std::vector<int64_t> column_of(static_cast<size_t>(channels_ * taps), -1);
  for (size_t column = 0; column < columns.size(); ++column)
    column_of[static_cast<size_t>(columns[column])] = static_cast<int64_t>(column);
  for (const int64_t place : columns) {
    const int64_t channel = place / taps, tap = place % taps;
    if (channel % 2 != 0) continue;
    const bool alone = channel + 1 == channels_;
    pairs_.push_back({channel, tap, column_of[static_cast<size_t>(place)],
                      alone ? -1 : column_of[static_cast<size_t>(place + taps)]});
  }
  as_decoded_ = columns.size() % 2 == 0 && pairs_.size() == columns.size() / 2;
  for (size_t i = 0; i < pairs_.size() && as_decoded_; ++i)
    as_decoded_ = pairs_[i].even == static_cast<int64_t>(2 * i) && pairs_[i].odd == pairs_[i].even + 1;
  if (!as_decoded_)  // channels of a tap one after another, as they lie in x
    std::sort(pairs_.begin(), pairs_.end(), [](const ColumnPair& a, const ColumnPair& b) {
      return std::tuple(a.channel / 16, a.tap, a.channel) < std::tuple(b.channel / 16, b.tap, b.channel);
    });
  if (coded != nullptr) return;
  weights.visit_numbers([&](const PackedPanels& numbers) {
    packed_.resize(static_cast<size_t>(panels_ * count() * kPairWords));
    const auto word = [&](int64_t panel, int64_t column, int64_t row) -> uint16_t {
      if (column < 0) return 0;
      const auto at = static_cast<size_t>((panel * numbers.columns + column) * kPanelRows + row);
      const auto bits = std::bit_cast<uint32_t>(numbers.weights[at]);
      if ((bits & 0xffffU) != 0) throw std::invalid_argument("the weight's numbers are not bfloat16");
      return static_cast<uint16_t>(bits >> 16);
    };
    uint16_t* to = packed_.data();
    for (int64_t panel = 0; panel < panels_; ++panel)
      for (const ColumnPair& pair : pairs_)
        for (int64_t row = 0; row < kPanelRows; ++row) {
          *to++ = word(panel, pair.even, row);
          *to++ = word(panel, pair.odd, row);
        }
  });
}

void PairWeights::put_in_pairs(const uint16_t* decoded, uint16_t* to) const {
  const auto at = [decoded](int64_t column) { return decoded + column / 2 * kPairWords + column % 2; };
  for (const ColumnPair& pair : pairs_) {
    const uint16_t* even = at(pair.even);
    if (pair.odd < 0) {
      for (int64_t row = 0; row < kPanelRows; ++row, to += 2) to[0] = even[row * 2], to[1] = 0;
    } else {
      const uint16_t* odd = at(pair.odd);
      for (int64_t row = 0; row < kPanelRows; ++row, to += 2) to[0] = even[row * 2], to[1] = odd[row * 2];
    }
  }
}

}  // namespace tersely
