// See quantised_convolution.hpp.
#include "tersely/backends/cpu/network/quantised_convolution.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace tersely {
namespace {

// Pixels whose bytes of x stay in the second-level cache while panel after panel meets them.
constexpr int64_t kRound = 192;
// Pixels that are worth decoding their weights for.
constexpr int64_t kMinShare = 48;

int32_t narrow(int64_t value) {
  if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("an image has more bytes than 31 bits address");
  return static_cast<int32_t>(value);
}

void check_window(const ImageLayout& in, const ImageLayout& out, const Window& w) {
  if (!in.blocked || !out.blocked || in.halo < w.pad_y || in.halo < w.pad_x)
    throw std::invalid_argument("a convolution of bytes takes blocks of channels and a halo as wide as its padding");
  const auto last = [](int64_t count, int64_t stride, int64_t taps, int64_t dilation, int64_t pad) {
    return (count - 1) * stride + (taps - 1) * dilation - pad;
  };
  if (last(out.height, w.stride_y, w.height, w.dilation_y, w.pad_y) >= in.height + in.halo ||
      last(out.width, w.stride_x, w.width, w.dilation_x, w.pad_x) >= in.width + in.halo)
    throw std::invalid_argument("a convolution's output is larger than its input allows");
}

}  // namespace

QuantisedConvolution::QuantisedConvolution(QuantisedPanels panels, std::vector<int32_t> starts,
                                           const Requantisation& to, const ImageLayout& in, const ImageLayout& out,
                                           const Window& window)
    : panels_(std::move(panels)), starts_(std::move(starts)), to_(to), in_(in), out_(out) {
  check_window(in, out, window);
  narrow(in_.floats()), narrow(out_.floats());
  for (const int64_t first : panels_.first())
    if (first + panels_.channels() > in.blocks() * kChannelBlock)
      throw std::invalid_argument("a panel of weights reads channels that there are not");
  std::vector<int32_t> offsets;
  for (const QuantisedGroup& group : panels_.columns())
    offsets.push_back(narrow(in.at(group.channel, group.tap / window.width * window.dilation_y,
                                   group.tap % window.width * window.dilation_x) -
                             in.at(0, 0, 0)));
  if (offsets.empty()) throw std::invalid_argument("a convolution of no channels or no taps");
  auto run = static_cast<int64_t>(offsets.size()), begin = int64_t{0};
  for (int64_t i = 1; i < static_cast<int64_t>(offsets.size()); ++i)
    if (offsets[static_cast<size_t>(i)] != offsets[static_cast<size_t>(i - 1)] + 4)
      run = std::gcd(run, i - begin), begin = i;
  run_ = run;
  for (size_t i = 0; i < offsets.size(); i += static_cast<size_t>(run_)) offsets_.push_back(offsets[i]);
  for (int64_t row = 0; row < out.height; ++row)
    for (int64_t column = 0; column < out.width; ++column) {
      x_at_.push_back(narrow(in.at(0, row * window.stride_y - window.pad_y, column * window.stride_x - window.pad_x)));
      y_at_.push_back(narrow(out_.at(0, row, column)));
    }
}

void QuantisedConvolution::run(const uint8_t* x, const QuantisedResult& y, int64_t images, int threads) const {
  const KernelTable& table = active_table();
  const int64_t items = panels_.items();
  // Shares of pixels for workers. Decoding is done for each of them; what is packed costs nothing to take again.
  const int64_t wanted = threads == 1 ? 1 : ceil_div(4 * threads, items * images);
  const int64_t least = panels_.is_coded() ? 1 : ceil_div(pixels(), kRound);
  const int64_t most = panels_.is_coded() ? std::max<int64_t>(1, pixels() / kMinShare) : pixels();
  const int64_t shares = std::clamp<int64_t>(std::max(wanted, least), 1, most);
  parallel_for_ranges(threads, images * shares * items, [&](int64_t index) {
    const int64_t item = index % items, share = index / items % shares, image = index / items / shares;
    const int64_t first = pixels() * share / shares, count = pixels() * (share + 1) / shares - first;
    const int64_t rounds = ceil_div(count, kRound);
    QuantisedBlock b{};
    b.offsets = offsets_.data(), b.run = run_, b.runs = static_cast<int64_t>(offsets_.size());
    b.panel_stride = panels_.panel_stride(), b.y_panel_stride = out_.plane();
    panels_.walk(item, rounds, [&](int64_t round, const QuantisedPair& pair) {
      const int64_t channel = panels_.first()[static_cast<size_t>(pair.panel)];
      b.weights = pair.weights, b.panels = pair.panels;
      b.x = x + image * in_.floats() + channel / kChannelBlock * in_.plane();
      b.start = starts_.data() + pair.panel * kPanelRows;
      b.to = to_, b.to.scale += pair.panel * kPanelRows;
      const int64_t at = image * out_.floats() + pair.panel * out_.plane();
      b.y = y.bytes == nullptr ? nullptr : y.bytes + at;
      b.floats = y.bytes == nullptr ? y.floats + at : nullptr;
      const int64_t begin = first + count * round / rounds, end = first + count * (round + 1) / rounds;
      table.quantised.convolve(b, {x_at_.data() + begin, y_at_.data() + begin, nullptr}, end - begin);
    });
  });
}

QuantisedDepthwiseConvolution::QuantisedDepthwiseConvolution(const std::vector<int16_t>& differences,
                                                             std::vector<int32_t> starts, const Requantisation& to,
                                                             const ImageLayout& in, const ImageLayout& out,
                                                             const Window& window)
    : starts_(std::move(starts)), to_(to), in_(in), out_(out), window_(window) {
  check_window(in, out, window);
  const int64_t taps = window.height * window.width;
  if (in.channels != out.channels || static_cast<int64_t>(differences.size()) != in.channels * taps)
    throw std::invalid_argument("a depthwise convolution takes weights of one row of taps for each channel");
  weights_.assign(static_cast<size_t>(out.blocks() * taps * kChannelBlock), 0);
  for (int64_t channel = 0; channel < in.channels; ++channel)
    for (int64_t tap = 0; tap < taps; ++tap)
      weights_[static_cast<size_t>((channel / kChannelBlock * taps + tap) * kChannelBlock + channel % kChannelBlock)] =
          differences[static_cast<size_t>(channel * taps + tap)];
}

void QuantisedDepthwiseConvolution::run(const uint8_t* x, uint8_t* y, int64_t images, int threads) const {
  const KernelTable& table = active_table();
  const int64_t blocks = out_.blocks(), block_weights = window_.height * window_.width * kChannelBlock;
  const int64_t planes = images * blocks;
  parallel_for_ranges(threads, planes * out_.height, [&](int64_t item) {
    const int64_t row = item / planes, plane = item % planes, block = plane % blocks;
    QuantisedDepthwiseRow r{};
    r.weights = weights_.data() + block * block_weights;
    r.rows = window_.height, r.columns = window_.width;
    r.x = x + plane * in_.plane() + in_.at(0, row * window_.stride_y - window_.pad_y, -window_.pad_x);
    r.x_step = window_.stride_x * kChannelBlock;
    r.x_row = window_.dilation_y * in_.row(), r.x_column = window_.dilation_x * kChannelBlock;
    r.start = starts_.data() + block * kChannelBlock;
    r.to = to_, r.to.scale += block * kChannelBlock;
    table.quantised.depthwise(r, y + plane * out_.plane() + out_.at(0, row, 0), out_.width);
  });
}

}  // namespace tersely
