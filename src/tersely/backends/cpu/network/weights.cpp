// See weights.hpp.
#include "tersely/backends/cpu/network/weights.hpp"

#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/image.hpp"

namespace tersely {

bool ConvolutionWeights::walks(const MatrixView* coded, const Groups& groups, int64_t taps) {
  if (coded == nullptr) return false;
  const Geometry& g = coded->geometry;
  const bool whole = groups.count == 1 || (groups.outputs % kPanelRows == 0 && groups.channels % kChannelBlock == 0);
  return whole && g.count == 1 && g.rows == groups.count * groups.outputs && g.columns == groups.channels * taps;
}

ConvolutionWeights::ConvolutionWeights(const MatrixView& coded, const Groups& groups, int64_t taps)
    : coded_(&coded), starts_(FloatPanels::starts(coded, active_table())) {
  const Geometry& g = coded.geometry;
  reads_.channels = groups.channels;
  for (int64_t panel = 0; panel < g.panels; ++panel)
    reads_.first.push_back(panel * kPanelRows / groups.outputs * groups.channels);
  reads_.columns.resize(static_cast<size_t>(groups.channels * taps));
  for (int64_t column = 0; column < g.columns; ++column)
    reads_.columns[static_cast<size_t>(column)] = g.column_offsets == nullptr ? column : g.column_offsets[column];
}

ConvolutionWeights::ConvolutionWeights(const float* dense, const Groups& groups, int64_t taps, int64_t block) {
  const int64_t outputs = groups.count * groups.outputs, channels = groups.count * groups.channels;
  packed_.panels = ceil_div(outputs, kPanelRows);
  // The widest range that a panel reads, in blocks; all have this width, so that their columns lie alike.
  int64_t widest = 0;
  for (int64_t panel = 0; panel < packed_.panels; ++panel) {
    const int64_t last_output = std::min(outputs, (panel + 1) * kPanelRows) - 1;
    const int64_t first = panel * kPanelRows / groups.outputs * groups.channels / block;
    const int64_t end = ceil_div((last_output / groups.outputs + 1) * groups.channels, block);
    reads_.first.push_back(first * block);
    widest = std::max(widest, end - first);
  }
  for (int64_t& first : reads_.first) first = std::min(first, (ceil_div(channels, block) - widest) * block);
  reads_.channels = std::min(widest * block, channels);
  for (int64_t b = 0; b < reads_.channels; b += block)
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t c = b; c < std::min(b + block, reads_.channels); ++c) reads_.columns.push_back(c * taps + tap);
  packed_.columns = static_cast<int64_t>(reads_.columns.size());
  packed_.weights.assign(static_cast<size_t>(packed_.panels * packed_.columns * kPanelRows), 0.0F);
  for (int64_t output = 0; output < outputs; ++output) {
    const int64_t panel = output / kPanelRows, begin = output / groups.outputs * groups.channels;
    float* to = packed_.weights.data() + panel * packed_.columns * kPanelRows + output % kPanelRows;
    for (int64_t column = 0; column < packed_.columns; ++column) {
      const int64_t place = reads_.columns[static_cast<size_t>(column)];
      const int64_t channel = reads_.first[static_cast<size_t>(panel)] + place / taps - begin;
      if (channel >= 0 && channel < groups.channels)
        to[column * kPanelRows] = dense[(output * groups.channels + channel) * taps + place % taps];
    }
  }
}

}  // namespace tersely
