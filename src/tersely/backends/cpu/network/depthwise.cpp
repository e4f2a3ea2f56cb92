// See depthwise.hpp.
#include "tersely/backends/cpu/network/depthwise.hpp"

#include <cstring>
#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace tersely {
namespace {

// The last pixel that a tap reads, from the image's first one on.
int64_t last_read(int64_t count, int64_t stride, int64_t taps, int64_t dilation, int64_t pad) {
  return (count - 1) * stride + (taps - 1) * dilation - pad;
}

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
                               float* workspace, int threads) const {
  const KernelTable& table = active_table();
  const int64_t block_weights = taps() * kChannelBlock, blocks = out_.blocks();
  weights_.visit(table, [&](const auto& panels) {
    parallel_for(threads, panels.items(), [&](int64_t item) {
      panels.walk(item, ceil_div(taps(), kTileChunks * kChunkColumns) * kTileChunks * kChunkColumns,
                  [&](const FloatBlock& block) {
                    for (int k = 0; k < block.panels; ++k)
                      std::memcpy(workspace + (block.panel + k) * block_weights + block.first_column * kChannelBlock,
                                  block.weights + k * block.panel_stride,
                                  static_cast<size_t>(block.columns * kChannelBlock) * 4);
                  });
    });
  });
  const int64_t planes = images * blocks;
  parallel_for_ranges(threads, planes * out_.height, [&](int64_t item) {
    const int64_t row = item / planes, plane = item % planes, channel = plane % blocks * kChannelBlock;
    DepthwiseRow r{};
    r.weights = workspace + plane % blocks * block_weights;
    r.rows = window_.height, r.columns = window_.width;
    r.x = x + plane * in_.plane() + in_.at(0, row * window_.stride_y - window_.pad_y, -window_.pad_x);
    r.x_step = window_.stride_x * kChannelBlock;
    r.x_row = window_.dilation_y * in_.row(), r.x_column = window_.dilation_x * kChannelBlock;
    r.scale = finish.scale == nullptr ? nullptr : finish.scale + channel;
    r.shift = finish.shift == nullptr ? nullptr : finish.shift + channel;
    r.residual = residual == nullptr ? nullptr : residual + plane * residual_.plane() + residual_.at(0, row, 0);
    r.low = finish.low, r.high = finish.high;
    float* to = y + plane * out_.plane() + out_.at(0, row, 0);
    table.depthwise(r, to, out_.width);
    if (finish.activation != PixelActivation::kNone) table.pixels.activate(finish.activation, to, out_.width);
  });
}

}  // namespace tersely
