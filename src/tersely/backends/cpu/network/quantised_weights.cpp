// See quantised_weights.hpp.
#include "tersely/backends/cpu/network/quantised_weights.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "tersely/backends/cpu/matrix/description.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"

namespace tersely {
namespace {

constexpr int64_t kGroup = 4;       // channels
constexpr int64_t kPackedItem = 2;  // panels

}  // namespace

std::vector<int16_t> differences_of(const Constant& weight, const Groups& groups, int64_t taps,
                                    const QuantisedOperands& operands) {
  const int64_t outputs = checked_product(groups.count, groups.outputs);
  const int64_t columns = checked_product(groups.channels, taps), count = checked_product(outputs, columns);
  fits(!operands.in_out || (groups.count == 1 && taps == 1), "only matrices are stored [inputs][outputs]");
  std::vector<uint8_t> decoded;
  const uint8_t* words = weight.bytes;
  if (weight.coded != nullptr) {
    const Geometry& g = weight.coded->geometry();
    fits(weight.coded->word_bytes() == 1 && g.elements == count,
         "the weight is no matrix of bytes with a row for each output and a column for each channel and tap");
    decoded.resize(static_cast<size_t>(count));
    weight.coded->decode_window(0, g.panels, 0, count, decoded.data(), 1);
    words = decoded.data();
  }
  fits(words != nullptr && (weight.coded != nullptr || weight.count >= count),
       "the weight has too few bytes for its channels and taps");
  std::vector<int16_t> found(static_cast<size_t>(count));
  for (int64_t output = 0; output < outputs; ++output) {
    const int32_t zero = operands.weight_zero == nullptr ? 0 : operands.weight_zero[output];
    const bool right = operands.is_signed ? zero >= -128 && zero <= 127 : zero >= 0 && zero <= 255;
    fits(right, "a zero point of weights is no number of theirs");
    for (int64_t column = 0; column < columns; ++column) {
      const uint8_t word = words[operands.in_out ? column * outputs + output : output * columns + column];
      const int32_t number = operands.is_signed ? static_cast<int8_t>(word) : word;
      found[static_cast<size_t>(output * columns + column)] = static_cast<int16_t>(number - zero);
    }
  }
  return found;
}

std::vector<int32_t> starts_of(const std::vector<int16_t>& differences, int64_t outputs,
                               const QuantisedOperands& operands) {
  std::vector<int32_t> starts(static_cast<size_t>(ceil_div(outputs, kPanelRows) * kPanelRows), 0);
  const int64_t columns = static_cast<int64_t>(differences.size()) / std::max<int64_t>(outputs, 1);
  for (int64_t output = 0; output < outputs; ++output) {
    int64_t sum = 0, size = 0;
    for (int64_t i = output * columns; i < (output + 1) * columns; ++i) {
      sum += differences[static_cast<size_t>(i)];
      size += std::abs(int64_t{differences[static_cast<size_t>(i)]});
    }
    const int64_t bias = operands.bias == nullptr ? 0 : operands.bias[output];
    fits(std::abs(bias) + 255 * size <= std::numeric_limits<int32_t>::max(),
         "a sum of products and its bias could leave 32 bits");
    // What does not fit here comes back by the products: sums are counted modulo 2^32.
    starts[static_cast<size_t>(output)] = static_cast<int32_t>(static_cast<uint32_t>(bias - operands.x_zero * sum));
  }
  return starts;
}

QuantisedPanels::QuantisedPanels(const std::vector<int16_t>& differences, const Groups& groups, int64_t taps) {
  const int64_t outputs = groups.count * groups.outputs, channels = groups.count * groups.channels;
  panels_ = ceil_div(outputs, kPanelRows);
  // The widest range of blocks that a panel reads; all have this width, so that their columns lie alike.
  int64_t widest = 0;
  for (int64_t panel = 0; panel < panels_; ++panel) {
    const int64_t last = std::min(outputs, (panel + 1) * kPanelRows) - 1;
    const int64_t first = panel * kPanelRows / groups.outputs * groups.channels / kChannelBlock;
    first_.push_back(first * kChannelBlock);
    widest = std::max(widest, ceil_div((last / groups.outputs + 1) * groups.channels, kChannelBlock) - first);
  }
  for (int64_t& first : first_) first = std::min(first, (ceil_div(channels, kChannelBlock) - widest) * kChannelBlock);
  channels_ = std::min(widest * kChannelBlock, channels);
  int64_t parts = 1;
  for (const int16_t one : differences)
    parts = std::max<int64_t>(parts, one > 254 ? 3 : one > 127 || one < -128 ? 2 : 1);
  for (int64_t part = 0; part < parts; ++part)
    for (int64_t block = 0; block < channels_; block += kChannelBlock)
      for (int64_t tap = 0; tap < taps; ++tap)
        for (int64_t c = block; c < std::min(block + kChannelBlock, channels_); c += kGroup)
          columns_.push_back({c, tap});
  weights_.assign(static_cast<size_t>(panels_ * panel_stride() + 64), 0);
  const int64_t per_part = static_cast<int64_t>(columns_.size()) / parts;
  for (int64_t output = 0; output < outputs; ++output) {
    const int64_t panel = output / kPanelRows;
    const int64_t begin = output / groups.outputs * groups.channels - first_[static_cast<size_t>(panel)];
    int8_t* to = weights_.data() + panel * panel_stride() + output % kPanelRows * kGroup;
    for (int64_t column = 0; column < per_part; ++column)
      for (int64_t k = 0; k < kGroup; ++k) {
        const QuantisedGroup& group = columns_[static_cast<size_t>(column)];
        const int64_t channel = group.channel + k - begin;
        if (channel < 0 || channel >= groups.channels) continue;
        int rest = differences[static_cast<size_t>((output * groups.channels + channel) * taps + group.tap)];
        for (int64_t part = 0; part < parts; ++part) {
          const int some = std::clamp(rest, -128, 127);
          to[(part * per_part + column) * 64 + k] = static_cast<int8_t>(some);
          rest -= some;
        }
      }
  }
}

bool QuantisedPanels::walks(const CodedMatrix* coded, const Groups& groups, int64_t taps,
                            const QuantisedOperands& operands) {
  if (coded == nullptr || !coded->has_chunks() || operands.in_out) return false;
  const Geometry& g = coded->geometry();
  const int64_t outputs = groups.count * groups.outputs;
  const bool whole = groups.count == 1 || (groups.outputs % kPanelRows == 0 && groups.channels % kChannelBlock == 0);
  if (!whole || g.count != 1 || g.rows != outputs || g.columns != groups.channels * taps || g.row_stride != g.columns ||
      groups.channels % kGroup != 0)
    return false;
  for (int64_t output = 0; output < outputs; ++output) {
    const int32_t zero = operands.weight_zero == nullptr ? 0 : operands.weight_zero[output];
    if (zero != (operands.is_signed ? 0 : 128)) return false;
  }
  for (int64_t column = 0; column < g.columns; column += kGroup) {
    const auto place = [&](int64_t k) {
      return g.column_offsets == nullptr ? (column + k) * g.column_stride : g.column_offsets[column + k];
    };
    if (place(0) / taps % kGroup != 0) return false;
    for (int64_t k = 1; k < kGroup; ++k)
      if (place(k) != place(0) + k * taps) return false;
  }
  return true;
}

QuantisedPanels::QuantisedPanels(const CodedMatrix& coded, const Groups& groups, int64_t taps,
                                 const QuantisedOperands& operands)
    : coded_(&coded), flip_(operands.is_signed ? 0 : 0x80), panels_(coded.geometry().panels) {
  const Geometry& g = coded.geometry();
  channels_ = groups.channels;
  for (int64_t panel = 0; panel < panels_; ++panel)
    first_.push_back(panel * kPanelRows / groups.outputs * groups.channels);
  for (int64_t column = 0; column < g.columns; column += kGroup) {
    const int64_t place = g.column_offsets == nullptr ? column : g.column_offsets[column];
    columns_.push_back({place / taps, place % taps});
  }
}

int64_t QuantisedPanels::items() const {
  if (coded_ == nullptr) return ceil_div(panels_, kPackedItem);
  const Geometry& g = coded_->geometry();
  return g.panels_per_unit == 1 ? ceil_div(g.units, 2) : g.units;
}

QuantisedPanels::Item QuantisedPanels::decoded(int64_t item) const {
  if (coded_ == nullptr) {
    const int64_t first = item * kPackedItem;
    return {first, std::min(panels_, first + kPackedItem), weights_.data() + first * panel_stride()};
  }
  static thread_local Scratch scratch;
  constexpr int64_t kExpand = (kExpandScratchBytes + 63) / 64 * 64;
  const Geometry& g = coded_->geometry();
  const bool single = g.panels_per_unit == 1;
  const int64_t first_unit = single ? item * 2 : item,
                last_unit = single ? std::min(g.units, first_unit + 2) : item + 1;
  const int64_t first = unit_panels(g, first_unit).first, last = unit_panels(g, last_unit - 1).last;
  const int64_t bytes = (last - first) * panel_stride();
  auto* memory = scratch.get<uint8_t>(kExpand + bytes + kChunksSlack);
  uint8_t* to = memory + kExpand;
  for (int64_t unit = first_unit; unit < last_unit; ++unit)
    coded_->decode_chunks(unit, memory, to + (unit_panels(g, unit).first - first) * panel_stride());
  if (flip_ != 0)
    for (int64_t i = 0; i < bytes; ++i) to[i] ^= flip_;
  return {first, last, reinterpret_cast<const int8_t*>(to)};
}

}  // namespace tersely
