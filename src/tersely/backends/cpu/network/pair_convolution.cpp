// See pair_convolution.hpp.
#include "tersely/backends/cpu/network/pair_convolution.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/shares.hpp"

namespace tersely {
namespace {

// Pixels whose sums, of two panels, stay in the first-level cache until their activation.
constexpr int64_t kActivatedPixels = 96;

int32_t narrow(int64_t value) {
  if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("an image has more numbers than 31 bits address");
  return static_cast<int32_t>(value);
}

void check_window(const ImageLayout& in, const ImageLayout& out, const Window& w) {
  if (!in.blocked || !out.blocked || in.halo < w.pad_y || in.halo < w.pad_x)
    throw std::invalid_argument("a convolution of pairs takes blocks of channels and a halo as wide as its padding");
  const auto last = [](int64_t count, int64_t stride, int64_t taps, int64_t dilation, int64_t pad) {
    return (count - 1) * stride + (taps - 1) * dilation - pad;
  };
  if (last(out.height, w.stride_y, w.height, w.dilation_y, w.pad_y) >= in.height + in.halo ||
      last(out.width, w.stride_x, w.width, w.dilation_x, w.pad_x) >= in.width + in.halo)
    throw std::invalid_argument("a convolution's output is larger than its input allows");
}

}  // namespace

struct PairConvolution::Call {
  const KernelTable& table;
  const uint16_t* x;
  const PairResult& y;
  const float* residual;
  int64_t images;
  const Finish& finish;
};

PairConvolution::PairConvolution(const PairWeights& weights, const ImageLayout& in, const ImageLayout& out,
                                 const ImageLayout* residual, const Window& window)
    : weights_(weights), in_(in), out_(out), residual_(residual == nullptr ? out : *residual) {
  check_window(in, out, window);
  narrow(in_.floats()), narrow(out_.floats()), narrow(residual_.floats());
  for (const int64_t first : weights.first()) {
    if (first + weights.channels() > in.blocks() * kChannelBlock || first % kChannelBlock != 0)
      throw std::invalid_argument("a panel of weights reads channels that there are not");
    panel_at_.push_back(first / kChannelBlock * in.plane());
  }
  std::vector<int32_t> offsets;
  for (const ColumnPair& pair : weights.pairs())
    offsets.push_back(narrow(
        in.at(pair.channel, pair.tap / window.width * window.dilation_y, pair.tap % window.width * window.dilation_x) -
        in.at(0, 0, 0)));
  if (offsets.empty()) throw std::invalid_argument("a convolution of no channels or no taps");
  auto run = static_cast<int64_t>(offsets.size()), begin = int64_t{0};
  for (int64_t i = 1; i < static_cast<int64_t>(offsets.size()); ++i)
    if (offsets[static_cast<size_t>(i)] != offsets[static_cast<size_t>(i - 1)] + 2)
      run = std::gcd(run, i - begin), begin = i;
  run_ = run;
  for (size_t i = 0; i < offsets.size(); i += static_cast<size_t>(run_)) offsets_.push_back(offsets[i]);
  for (int64_t row = 0; row < out.height; ++row)
    for (int64_t column = 0; column < out.width; ++column) {
      x_at_.push_back(narrow(in.at(0, row * window.stride_y - window.pad_y, column * window.stride_x - window.pad_x)));
      y_at_.push_back(narrow(out_.at(0, row, column)));
      residual_at_.push_back(narrow(residual_.at(0, row, column)));
    }
}

// Pixels are finished while they are in cache.
void PairConvolution::finish(const Call& call, PairBlock& b, int64_t first, int64_t count) const {
  const auto& unary = call.finish.unary;
  if (call.finish.activation == PixelActivation::kNone && !unary)
    return call.table.pairs.convolve(b, places(first), count);
  PairBlock sums = b;  // are activated before they are rounded
  sums.rounded = nullptr;
  for (int64_t begin = first; begin < first + count; begin += kActivatedPixels) {
    const int64_t end = std::min(begin + kActivatedPixels, first + count);
    call.table.pairs.convolve(sums, places(begin), end - begin);
    for (int64_t pixel = begin, stop; pixel < end; pixel = stop) {
      stop = std::min(end, (pixel / out_.width + 1) * out_.width);
      for (int k = 0; k < b.panels; ++k) {
        const int64_t at = k * b.y_panel_stride + y_at_[static_cast<size_t>(pixel)];
        const int64_t numbers = (stop - pixel) * kChannelBlock;
        call.table.pixels.activate(call.finish.activation, b.y + at, stop - pixel);
        if (unary) call.table.activate[static_cast<int>(*unary)](b.y + at, numbers, b.y + at);
        if (b.rounded != nullptr) call.table.pairs.round(b.y + at, numbers, b.rounded + at);
      }
    }
  }
}

void PairConvolution::multiply(const Call& call, const PairsOfPanels& panels, int64_t first, int64_t count) const {
  const int64_t* at = panel_at_.data() + panels.panel;
  if (panels.panels == 2 && at[0] != at[1]) {
    PairsOfPanels one = panels;
    one.panels = 1;
    multiply(call, one, first, count);
    one.panel += 1, one.weights += panels.panel_stride;
    return multiply(call, one, first, count);
  }
  const int64_t output = panels.panel * kPanelRows;
  PairBlock b{};
  b.weights = panels.weights, b.panel_stride = panels.panel_stride, b.panels = panels.panels;
  b.offsets = offsets_.data(), b.runs = static_cast<int64_t>(offsets_.size()), b.run = run_;
  b.y_panel_stride = out_.plane(), b.residual_panel_stride = residual_.plane();
  b.scale = call.finish.scale == nullptr ? nullptr : call.finish.scale + output;
  b.shift = call.finish.shift == nullptr ? nullptr : call.finish.shift + output;
  b.low = call.finish.low, b.high = call.finish.high;
  for (int64_t image = 0; image < call.images; ++image) {
    const int64_t to = image * out_.floats() + panels.panel * out_.plane();
    b.x = call.x + image * in_.floats() + at[0];
    b.y = call.y.y == nullptr ? nullptr : call.y.y + to;
    b.rounded = call.y.rounded == nullptr ? nullptr : call.y.rounded + to;
    b.residual = call.residual == nullptr
                     ? nullptr
                     : call.residual + image * residual_.floats() + panels.panel * residual_.plane();
    finish(call, b, first, count);
  }
}

void PairConvolution::run(const uint16_t* x, const PairResult& y, const float* residual, int64_t images,
                          const Finish& finish, int threads) const {
  const Call call{active_table(), x, y, residual, images, finish};
  const int64_t items = weights_.items(call.table), shares = shares_of({items, items, 1}, pixels(), images, threads);
  parallel_for_ranges(threads, items * shares, [&](int64_t index) {
    const int64_t item = index % items, share = index / items;
    const int64_t first = pixels() * share / shares, count = pixels() * (share + 1) / shares - first;
    weights_.walk(call.table, item, [&](const PairsOfPanels& panels) { multiply(call, panels, first, count); });
  });
}

}  // namespace tersely
