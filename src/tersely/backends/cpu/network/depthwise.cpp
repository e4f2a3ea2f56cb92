// See depthwise.hpp.
#include "tersely/backends/cpu/network/depthwise.hpp"

#include <algorithm>
#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace tersely {
namespace {

// The last pixel that a tap reads, from the image's first one on.
int64_t last_read(int64_t count, int64_t stride, int64_t taps, int64_t dilation, int64_t pad) {
  return (count - 1) * stride + (taps - 1) * dilation - pad;
}

// Into how many parts rows are divided, each of which decodes its weights anew: of whole workers, for they keep theirs
// from step to step; more where there are few items.
int64_t shares_of(int64_t items, int64_t threads) { return threads * ceil_div(4, items); }

}  // namespace

DepthwiseConvolution::DepthwiseConvolution(const ConvolutionWeights& weights, const ImageLayout& in,
                                           const ImageLayout& out, const ImageLayout* residual, const Window& window)
    : weights_(weights), in_(in), out_(out), residual_(residual == nullptr ? out : *residual), window_(window) {
  if (!in.blocked || !out.blocked || in.channels != out.channels || in.halo < window.pad_y || in.halo < window.pad_x)
    throw std::invalid_argument("a depthwise convolution reads blocks of channels and a halo as wide as its padding");
  if (last_read(out.height, window.stride_y, window.height, window.dilation_y, window.pad_y) >= in.height + in.halo ||
      last_read(out.width, window.stride_x, window.width, window.dilation_x, window.pad_x) >= in.width + in.halo)
    throw std::invalid_argument("a convolution's output is larger than its input allows");
  const PanelColumns& reads = weights.reads();
  bool right = reads.channels == 1 && static_cast<int64_t>(reads.columns.size()) == taps() &&
               static_cast<int64_t>(reads.first.size()) == out.blocks();
  for (size_t column = 0; right && column < reads.columns.size(); ++column)
    right = reads.columns[column] == static_cast<int64_t>(column);
  if (!right) throw std::invalid_argument("a depthwise convolution takes weights of one row of taps for each channel");
}

void DepthwiseConvolution::run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish,
                               int threads) const {
  const KernelTable& table = active_table();
  weights_.visit(table, [&](const auto& panels) {
    const int64_t items = panels.items(), shares = shares_of(items, threads);
    parallel_for_ranges(threads, items * shares, [&](int64_t index) {
      const int64_t share = index / items;
      const Rows rows{out_.height * share / shares, out_.height * (share + 1) / shares};
      panels.walk(index % items, whole_panel(), [&](const FloatBlock& block) {
        for (int k = 0; k < block.panels; ++k)
          for (int64_t image = 0; image < images; ++image) {
            const Image one{x + image * in_.floats(), y + image * out_.floats(),
                            residual == nullptr ? nullptr : residual + image * residual_.floats()};
            multiply(table, block.weights + k * block.panel_stride, block.panel + k, one, rows, finish);
          }
      });
    });
  });
}

void DepthwiseConvolution::decode(const KernelTable& table, float* to) const {
  weights_.visit(table, [&](const auto& panels) {
    for (int64_t item = 0; item < panels.items(); ++item)
      panels.walk(item, whole_panel(), [&](const FloatBlock& block) {
        for (int k = 0; k < block.panels; ++k)
          std::copy_n(block.weights + k * block.panel_stride, taps() * kChannelBlock,
                      to + (block.panel + k) * taps() * kChannelBlock);
      });
  });
}

void DepthwiseConvolution::multiply_row(const KernelTable& table, const float* weights, int64_t panel, const float* x,
                                        int64_t x_row, float* y, const float* residual, const Finish& finish) const {
  const int64_t channel = panel * kChannelBlock;
  DepthwiseRow r{};
  r.weights = weights;
  r.rows = window_.height, r.columns = window_.width;
  r.x = x, r.x_step = window_.stride_x * kChannelBlock;
  r.x_row = window_.dilation_y * x_row, r.x_column = window_.dilation_x * kChannelBlock;
  r.scale = finish.scale == nullptr ? nullptr : finish.scale + channel;
  r.shift = finish.shift == nullptr ? nullptr : finish.shift + channel;
  r.residual = residual;
  r.low = finish.low, r.high = finish.high;
  table.depthwise(r, y, out_.width);
  if (finish.activation != PixelActivation::kNone) table.pixels.activate(finish.activation, y, out_.width);
}

void DepthwiseConvolution::multiply(const KernelTable& table, const float* weights, int64_t panel, const Image& image,
                                    Rows rows, const Finish& finish) const {
  const int64_t channel = panel * kChannelBlock;
  for (int64_t row = rows.first; row < rows.end; ++row)
    multiply_row(table, weights, panel,
                 image.x + in_.at(channel, row * window_.stride_y - window_.pad_y, -window_.pad_x), in_.row(),
                 image.y + out_.at(channel, row, 0),
                 image.residual == nullptr ? nullptr : image.residual + residual_.at(channel, row, 0), finish);
}

}  // namespace tersely
