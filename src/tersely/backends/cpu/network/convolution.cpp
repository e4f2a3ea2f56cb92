// See convolution.hpp.
#include "tersely/backends/cpu/network/convolution.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace tersely {
namespace {

// Columns whose weights, of one panel, take half of the smallest first-level cache.
constexpr int64_t kBlockColumns = 256;
// A share of pixels smaller than this would pay for decoding more than two workers gain.
constexpr int64_t kLeastPixels = 192;

int32_t narrow(int64_t value) {
  if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("an image has more floats than 31 bits address");
  return static_cast<int32_t>(value);
}

// The longest runs, all of one length, in which offsets are consecutive.
int64_t run_length(const std::vector<int64_t>& offsets) {
  auto length = static_cast<int64_t>(offsets.size()), begin = int64_t{0};
  for (int64_t i = 1; i < static_cast<int64_t>(offsets.size()); ++i)
    if (offsets[i] != offsets[i - 1] + 1) length = std::gcd(length, i - begin), begin = i;
  return length;
}

}  // namespace

Convolution::Convolution(const ImageLayout& in, const ImageLayout& out, const ImageLayout* residual,
                         const Window& window, const int64_t* columns)
    : in_(in), out_(out), residual_(residual == nullptr ? out : *residual) {
  if (!out.blocked || in.halo < window.pad_y || in.halo < window.pad_x)
    throw std::invalid_argument("a convolution writes blocks of channels and reads a halo as wide as its padding");
  const auto reach = [](int64_t count, int64_t stride, int64_t taps, int64_t dilation) {
    return (count - 1) * stride + (taps - 1) * dilation + 1;
  };
  if (reach(out.height, window.stride_y, window.height, window.dilation_y) > in.height + 2 * window.pad_y ||
      reach(out.width, window.stride_x, window.width, window.dilation_x) > in.width + 2 * window.pad_x)
    throw std::invalid_argument("a convolution's output is larger than its input allows");
  narrow(in_.floats()), narrow(out_.floats()), narrow(residual_.floats());
  const int64_t taps = window.height * window.width;
  std::vector<int64_t> offsets(static_cast<size_t>(in.channels * taps));
  for (size_t column = 0; column < offsets.size(); ++column) {
    const int64_t place = columns == nullptr ? static_cast<int64_t>(column) : columns[column];
    const int64_t tap = place % taps;
    offsets[column] =
        in.at(place / taps, tap / window.width * window.dilation_y, tap % window.width * window.dilation_x) -
        in.at(0, 0, 0);
  }
  run_ = run_length(offsets);
  if (static_cast<int64_t>(offsets.size()) > kSegmentColumns)
    run_ = std::gcd(run_, kSegmentColumns);  // segments hold whole runs
  for (size_t column = 0; column < offsets.size(); column += static_cast<size_t>(run_))
    offsets_.push_back(narrow(offsets[column]));
  const int64_t whole = std::lcm(run_, kTileChunks * kChunkColumns);  // a block ends where a run and a tile do
  block_columns_ = std::min(std::max(kBlockColumns / whole, int64_t{1}) * whole, ceil_div(this->columns(), 4) * 4);
  for (int64_t row = 0; row < out.height; ++row)
    for (int64_t column = 0; column < out.width; ++column) {
      x_at_.push_back(narrow(in.at(0, row * window.stride_y - window.pad_y, column * window.stride_x - window.pad_x)));
      y_at_.push_back(narrow(out_.at(0, row, column)));
      residual_at_.push_back(narrow(residual_.at(0, row, column)));
    }
}

void Convolution::activate(const KernelTable& table, Unary kind, const ConvolutionBlock& block, int64_t first,
                           int64_t count) const {
  for (int panel = 0; panel < block.panels; ++panel)
    for (int64_t pixel = first, last = first + count; pixel < last;) {
      const int64_t row_end = std::min((pixel / out_.width + 1) * out_.width, last);
      float* y = block.y + panel * block.y_panel_stride + y_at_[static_cast<size_t>(pixel)];
      table.activate[static_cast<int>(kind)](y, (row_end - pixel) * kChannelBlock, y);
      pixel = row_end;
    }
}

void Convolution::run(const MatrixView& weights, const float* x, float* y, const float* residual, int64_t images,
                      const Finish& finish, int threads) const {
  const KernelTable& table = active_table();
  const FloatPanels panels(weights, table);
  const int64_t wanted = threads == 1 ? 1 : ceil_div(int64_t{8} * threads, panels.items() * images);
  const int64_t shares = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, pixels() / kLeastPixels));
  parallel_for(threads, panels.items() * shares, [&](int64_t index) {
    const int64_t item = index / shares, share = index % shares;
    const int64_t first = pixels() * share / shares, count = pixels() * (share + 1) / shares - first;
    const PixelPlaces places{x_at_.data() + first, y_at_.data() + first, residual_at_.data() + first};
    panels.walk(item, block_columns_, [&](const FloatBlock& block) {
      const int64_t output = block.panel * kPanelRows, end = block.first_column + block.columns;
      ConvolutionBlock b{};
      b.weights = block.weights, b.panel_stride = block.panel_stride, b.panels = block.panels;
      b.offsets = offsets_.data() + block.first_column / run_, b.runs = block.columns / run_, b.run = run_;
      b.y_panel_stride = out_.plane(), b.residual_panel_stride = residual_.plane();
      b.first = block.first_column == 0, b.last = end == columns();
      b.scale = finish.scale == nullptr ? nullptr : finish.scale + output;
      b.shift = finish.shift == nullptr ? nullptr : finish.shift + output;
      b.low = finish.low, b.high = finish.high;
      for (int64_t image = 0; image < images; ++image) {
        b.x = x + image * in_.floats();
        b.y = y + image * out_.floats() + block.panel * out_.plane();
        b.residual =
            residual == nullptr ? nullptr : residual + image * residual_.floats() + block.panel * residual_.plane();
        table.convolve(b, places, count);
        if (b.last && finish.activation) activate(table, *finish.activation, b, first, count);
      }
    });
  });
}

}  // namespace tersely
