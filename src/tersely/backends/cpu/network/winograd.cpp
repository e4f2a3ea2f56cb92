// See winograd.hpp. Two orders of work. By panels: all tiles are transformed first, then each worker decodes its panels
// and transforms them in its scratch. By bands: all panels are transformed first, then each worker transforms the tiles
// of a band. What is transformed first is read again for each item of the other, so the smaller traffic decides.
#include "tersely/backends/cpu/network/winograd.hpp"

#include <algorithm>
#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/bring.hpp"

namespace tersely {
namespace {

constexpr int64_t kTaps = 9, kBlockWeights = kTaps * kChannelBlock;  // columns of a block of channels
constexpr int64_t kBandFloats =
    98304;                           // of a band's transformed tiles: with its products they fit a second-level cache
constexpr int64_t kChunkTiles = 52;  // whose products are finished while they are in cache

}  // namespace

struct Winograd::Call {
  const KernelTable& table;
  const float* x;
  float* y;
  const float* residual;
  const Finish& finish;
};

Winograd::Winograd(const ConvolutionWeights& weights, const ImageLayout& in, const ImageLayout& out,
                   const ImageLayout* residual, const Window& window)
    : weights_(weights),
      in_(in),
      out_(out),
      residual_(residual == nullptr ? out : *residual),
      pad_y_(window.pad_y),
      pad_x_(window.pad_x),
      tile_rows_(ceil_div(out.height, 2)),
      tile_columns_(ceil_div(out.width, 2)) {
  if (window.height != 3 || window.width != 3 || window.stride_y != 1 || window.stride_x != 1 ||
      window.dilation_y != 1 || window.dilation_x != 1 || !in.blocked || !out.blocked ||
      in.channels % kChannelBlock != 0)
    throw std::invalid_argument("Winograd's method takes 3 x 3 taps, stride 1 and whole blocks of channels");
  if (in.halo < pad_y_ || in.halo < pad_x_ || out.height > in.height + 2 * pad_y_ - 2 ||
      out.width > in.width + 2 * pad_x_ - 2)
    throw std::invalid_argument("a convolution's output is larger than its input allows");
  const PanelColumns& reads = weights.reads();
  if (reads.channels != in.channels || static_cast<int64_t>(reads.first.size()) != out.blocks())
    throw std::invalid_argument("Winograd's method takes weights of one group");
  for (int64_t column = 0; column < in.channels * kTaps; ++column) {
    const int64_t channel = column / kBlockWeights * kChannelBlock + column % kChannelBlock;
    const int64_t tap = column % kBlockWeights / kChannelBlock;
    if (reads.columns[static_cast<size_t>(column)] != channel * kTaps + tap)
      throw std::invalid_argument("Winograd's method takes columns in the order block, tap, channel");
  }
}

int64_t Winograd::band_tiles() const {
  const int64_t most = std::max<int64_t>(6, kBandFloats / (kWinogradPoints * in_.channels) / 6 * 6);
  return ceil_div(tiles(), ceil_div(tiles(), most));
}

// As many for each worker, though bands are a quarter larger. MEASURED (Zen 5, two threads): 128 channels of 28 x 28
// pixels in four bands instead of five take 12 % less.
int64_t Winograd::bands_for(int threads) const {
  const int64_t least = ceil_div(tiles(), band_tiles()), fewer = least / threads * threads;
  if (fewer != 0 && (least - fewer) * 4 <= fewer) return fewer;
  return std::min(tiles(), ceil_div(least, threads) * threads);
}

bool Winograd::by_bands() const {
  const int64_t bands = ceil_div(tiles(), band_tiles()), pairs = ceil_div(out_.blocks(), 2);
  return weight_floats() * bands < input_floats() * pairs;
}

int64_t Winograd::workspace_floats() const { return by_bands() ? weight_floats() : input_floats(); }

void Winograd::transform_input(const float* x, int64_t block, Tiles some, float* out, int64_t stride) const {
  const KernelTable& table = active_table();
  for (int64_t i = 0; i < some.count; ++i) {
    const int64_t tile = some.first + i, row = tile / tile_columns_ * 2, column = tile % tile_columns_ * 2;
    const TileEdge edge{static_cast<int>(std::min<int64_t>(4, in_.height + in_.halo - (row - pad_y_))),
                        static_cast<int>(std::min<int64_t>(4, in_.width + in_.halo - (column - pad_x_)))};
    table.winograd.input(x + in_.at(block * kChannelBlock, row - pad_y_, column - pad_x_), in_.row(), edge,
                         out + i * kChannelBlock, stride);
  }
}

void Winograd::transform_weights(const FloatBlock& block, float* out, int64_t stride, int64_t panel_stride) const {
  const KernelTable& table = active_table();
  for (int k = 0; k < block.panels; ++k)
    for (int64_t b = 0; b < block.columns / kBlockWeights; ++b)
      table.winograd.weights(block.weights + k * block.panel_stride + b * kBlockWeights * kPanelRows,
                             kChannelBlock * kPanelRows, kChannelBlock,
                             out + k * panel_stride + b * kChannelBlock * kPanelRows, stride);
}

// Products of one or two panels and some tiles, which lie at v[point][block][v_tiles][16], finished.
void Winograd::multiply(const Call& call, int64_t panel, int panels, const float* u, int64_t u_stride, int64_t u_panel,
                        const float* v, int64_t v_stride, int64_t v_tiles, Tiles some) const {
  static thread_local Scratch scratch;
  static thread_local std::vector<int32_t> offsets, places;
  const int64_t blocks = in_.blocks(), m_panel = kChunkTiles * kChannelBlock, m_stride = 2 * m_panel;
  offsets.resize(static_cast<size_t>(blocks)), places.resize(static_cast<size_t>(kChunkTiles));
  for (int64_t b = 0; b < blocks; ++b)
    offsets[static_cast<size_t>(b)] = static_cast<int32_t>(b * v_tiles * kChannelBlock);
  for (int64_t i = 0; i < kChunkTiles; ++i) places[static_cast<size_t>(i)] = static_cast<int32_t>(i * kChannelBlock);
  auto* m = scratch.get<float>(kWinogradPoints * m_stride * 4);
  ConvolutionBlock b{};
  b.panel_stride = u_panel, b.panels = panels;
  b.offsets = offsets.data(), b.runs = blocks, b.run = kChannelBlock;
  b.y_panel_stride = m_panel, b.first = true;
  const PixelPlaces at{places.data(), places.data(), places.data()};
  const int64_t chunks = ceil_div(some.count, kChunkTiles);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t first = some.count * chunk / chunks, count = some.count * (chunk + 1) / chunks - first;
    for (int64_t point = 0; point < kWinogradPoints; ++point) {
      b.weights = u + point * u_stride;
      b.x = v + point * v_stride + first * kChannelBlock;
      b.y = m + point * m_stride;
      call.table.convolve(b, at, count);
    }
    for (int k = 0; k < panels; ++k) {
      const int64_t output = (panel + k) * kPanelRows;
      WinogradFinish finish{call.finish.scale == nullptr ? nullptr : call.finish.scale + output,
                            call.finish.shift == nullptr ? nullptr : call.finish.shift + output,
                            nullptr,
                            residual_.row(),
                            call.finish.low,
                            call.finish.high};
      for (int64_t i = 0; i < count; ++i) {
        const int64_t tile = some.first + first + i, row = tile / tile_columns_ * 2, column = tile % tile_columns_ * 2;
        const TileEdge edge{static_cast<int>(std::min<int64_t>(2, out_.height - row)),
                            static_cast<int>(std::min<int64_t>(2, out_.width - column))};
        if (call.residual != nullptr) finish.residual = call.residual + residual_.at(output, row, column);
        float* y = call.y + out_.at(output, row, column);
        call.table.winograd.output(m + k * m_panel + i * kChannelBlock, m_stride, finish, edge, y, out_.row());
        if (call.finish.activation != PixelActivation::kNone)
          for (int r = 0; r < edge.rows; ++r)
            call.table.pixels.activate(call.finish.activation, y + r * out_.row(), edge.columns);
      }
    }
  }
}

void Winograd::run_by_panels(const Call& call, float* v, int threads) const {
  const int64_t v_stride = in_.channels * tiles();
  const int64_t blocks = in_.blocks();
  parallel_for_ranges(threads, blocks * tile_rows_, [&](int64_t item) {
    const int64_t block = item % blocks, first = item / blocks * tile_columns_;
    transform_input(call.x, block, {first, tile_columns_}, v + (block * tiles() + first) * kChannelBlock, v_stride);
  });
  const int64_t u_panel = in_.channels * kPanelRows, u_stride = 2 * u_panel;
  weights_.visit(call.table, [&](const auto& panels) {
    const Ranges ranges(threads, panels.items());
    parallel_for_ranges(threads, panels.items(), [&](int64_t item) {
      if (threads > 1 && ranges.begins(item)) bring(v, std::min(kBroughtFloats, input_floats()));
      static thread_local Scratch scratch;
      auto* u = scratch.get<float>(kWinogradPoints * u_stride * 4);
      panels.walk(item, whole_panel(), [&](const FloatBlock& block) {
        transform_weights(block, u, u_stride, u_panel);
        multiply(call, block.panel, block.panels, u, u_stride, u_panel, v, v_stride, tiles(), {0, tiles()});
      });
    });
  });
}

void Winograd::run_by_bands(const Call& call, float* u, int threads) const {
  const int64_t u_panel = in_.channels * kPanelRows, u_stride = out_.blocks() * u_panel;
  weights_.visit(call.table, [&](const auto& panels) {
    parallel_for_ranges(threads, panels.items(), [&](int64_t item) {
      panels.walk(item, whole_panel(), [&](const FloatBlock& block) {
        transform_weights(block, u + block.panel * u_panel, u_stride, u_panel);
      });
    });
  });
  const int64_t bands = bands_for(threads);
  const Ranges ranges(threads, bands);
  parallel_for_ranges(threads, bands, [&](int64_t band) {
    if (threads > 1 && ranges.begins(band)) bring(u, std::min(kBroughtFloats, weight_floats()));
    static thread_local Scratch scratch;
    const int64_t begin = tiles() * band / bands;
    const Tiles some{begin, tiles() * (band + 1) / bands - begin};
    auto* v = scratch.get<float>(kWinogradPoints * in_.channels * some.count * 4);
    const int64_t v_stride = in_.channels * some.count;
    for (int64_t block = 0; block < in_.blocks(); ++block)
      transform_input(call.x, block, some, v + block * some.count * kChannelBlock, v_stride);
    for (int64_t panel = 0; panel < out_.blocks(); panel += 2)
      multiply(call, panel, static_cast<int>(std::min<int64_t>(2, out_.blocks() - panel)), u + panel * u_panel,
               u_stride, u_panel, v, v_stride, some.count, some);
  });
}

void Winograd::run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish,
                   float* workspace, int threads) const {
  for (int64_t image = 0; image < images; ++image) {
    const Call call{active_table(), x + image * in_.floats(), y + image * out_.floats(),
                    residual == nullptr ? nullptr : residual + image * residual_.floats(), finish};
    by_bands() ? run_by_bands(call, workspace, threads) : run_by_panels(call, workspace, threads);
  }
}

}  // namespace tersely
