// A convolution and the depthwise one that alone reads it, in one step: some rows of two blocks of channels are
// computed and read again while they are in cache. Networks of inverted bottlenecks widen images six times before such
// a layer; what lies between is the largest tensor that they have.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/depthwise.hpp"
#include "tersely/backends/cpu/network/pixels.hpp"
#include "tersely/backends/cpu/network/weights_of.hpp"
#include "tersely/backends/cpu/network/windows.hpp"

namespace tersely {
namespace {

// Of rows between the two layers, for two blocks of channels: half of a small second-level cache.
constexpr int64_t kBandFloats = 32768;
// Of items for each worker, where shares have rows enough.
constexpr int64_t kItems = 2;
// Rows of a share, at least, where a worker has several.
constexpr int64_t kRows = 16;

// Into how many shares rows are divided: of whole workers, which keep theirs from step to step, and as few as give each
// some items, for at the edges of a share rows between the layers are computed twice.
int64_t shares_of_rows(int64_t rows, int64_t items, int64_t threads) {
  const int64_t shares = threads * ceil_div(kItems, items);
  return threads == 1 ? 1 : std::min(rows, rows / shares < kRows ? threads : shares);
}

class ExpandedDepthwise final : public Step {
 public:
  explicit ExpandedDepthwise(const StepText& text) : x_(text.image("x")), y_(text.value("y")) {
    const StepText first = text.inner("first");
    const Window expand = window_of(first), window = window_of(text);
    const ImageLayout& y = y_.layout;
    constexpr int64_t kLargest = 1 << 20;
    const int64_t height = text.number("between_height"), width = text.number("between_width");
    const int64_t halo = text.number("between_halo");
    fits(height > 0 && height <= kLargest && width > 0 && width <= kLargest && halo >= 0 && halo <= kLargest,
         "no pixels lie between two convolutions");
    fits(x_.images == y_.images && !overlap(x_, y_), "x and y have different numbers of images, or y lies over x");
    fits(y.blocked && y.channels > 1, "a depthwise convolution writes blocks of channels");
    between_ = {y.channels, height, width, halo, true};
    checked_product(checked_product(between_.row(), height + 2 * between_.halo), between_.blocks());
    const int64_t taps = checked_product(expand.height, expand.width);
    checked_product(x_.layout.channels, taps);
    expand_weights_ =
        weights_of(first.constant("weight"), {1, x_.layout.channels, y.channels}, taps, x_.layout.pixel_floats());
    depthwise_weights_ =
        weights_of(text.constant("weight"), {1, 1, y.channels}, checked_product(window.height, window.width), 1);
    expand_ = std::make_unique<Convolution>(*expand_weights_, x_.layout, between_, nullptr, expand);
    depthwise_ = std::make_unique<DepthwiseConvolution>(*depthwise_weights_, between_, y, nullptr, window);
    expand_finish_ = finish_of(first, y.blocks() * kChannelBlock);
    finish_ = finish_of(text, y.blocks() * kChannelBlock);
    reach_ = (window.height - 1) * window.dilation_y + 1;
    // A row of results for each part of a band that is not shared with the one before.
    const int64_t rows = kBandFloats / (2 * between_.row());
    band_rows_ = std::clamp<int64_t>((rows - reach_) / window.stride_y + 1, 1, y.height);
    buffer_rows_ = (band_rows_ - 1) * window.stride_y + reach_;
    checked_product(2 * buffer_rows_, between_.row());
    y_at_ = expand_->place_rows(std::min(buffer_rows_, height));
  }

  int64_t workspace_floats() const override { return depthwise_->weight_floats(); }

  // Items are shares of rows of two blocks of channels, of all images.
  void run(const Run& run) const override {
    const KernelTable& table = active_table();
    depthwise_->decode(table, run.workspace);
    expand_weights_->visit(table, [&](const auto& panels) {
      const int64_t items = panels.items(), shares = shares_of_rows(y_.layout.height, items, run.threads);
      parallel_for_ranges(run.threads, items * shares, [&](int64_t index) {
        const int64_t share = index / items;
        const Rows rows{y_.layout.height * share / shares, y_.layout.height * (share + 1) / shares};
        panels.walk(index % items, expand_->whole_panel(),
                    [&](const FloatBlock& block) { compute(run, table, block, rows); });
      });
    });
  }

 private:
  struct Rows {
    int64_t first, end;
  };

  static Finish finish_of(const StepText& text, int64_t whole) {
    const Activated activated = activated_of(text);
    fits(!activated.unary, "a convolution before a depthwise one finishes with an activation of pixels, as that does");
    return {text.floats_or_null("scale", whole),
            text.floats_or_null("shift", whole),
            activated.bounds.low,
            activated.bounds.high,
            activated.activation,
            {}};
  }

  void compute(const Run& run, const KernelTable& table, const FloatBlock& block, Rows rows) const {
    static thread_local Scratch scratch;
    const int64_t panel = buffer_rows_ * between_.row();
    float* buffer = scratch.get<float>(2 * panel * 4);
    clear_sides(buffer, block.panels * buffer_rows_);
    for (int64_t image = 0; image < y_.images; ++image) {
      const float* x = run.floats(x_) + image * x_.layout.floats();
      float* y = run.floats(y_) + image * y_.layout.floats();
      for (int64_t row = rows.first; row < rows.end; row += band_rows_)
        band(table, block, x, y, row, std::min(row + band_rows_, rows.end), row == rows.first, buffer, panel,
             run.workspace);
    }
  }

  // Rows [first, end) of two blocks. The buffer has, from the row on that the first one's window begins with, what the
  // band before has left of it.
  void band(const KernelTable& table, const FloatBlock& block, const float* x, float* y, int64_t first, int64_t end,
            bool anew, float* buffer, int64_t panel, const float* weights) const {
    const Window& window = depthwise_->window();
    const int64_t row_floats = between_.row(), top = first * window.stride_y - window.pad_y;
    const int64_t bottom = (end - 1) * window.stride_y - window.pad_y + reach_;
    const int64_t kept = anew ? 0 : std::max<int64_t>(0, reach_ - window.stride_y);
    const int64_t moved = band_rows_ * window.stride_y;
    for (int k = 0; k < block.panels && kept != 0; ++k)
      std::memmove(buffer + k * panel, buffer + k * panel + moved * row_floats,
                   static_cast<size_t>(kept * row_floats) * 4);
    const int64_t begin = std::clamp<int64_t>(top + kept, 0, between_.height);
    const int64_t stop = std::clamp<int64_t>(bottom, begin, between_.height);
    for (int k = 0; k < block.panels; ++k) {
      clear(buffer + k * panel, top + kept, std::min(begin, bottom), top);
      clear(buffer + k * panel, std::max(stop, top + kept), bottom, top);
    }
    if (stop > begin)
      expand_->multiply_rows(table, block, x, begin, stop, y_at_.data(),
                             buffer + (begin - top) * row_floats + between_.halo * kChannelBlock, panel,
                             expand_finish_);
    const int64_t left = (between_.halo - window.pad_x) * kChannelBlock;
    const int64_t taps = window.height * window.width * kChannelBlock;
    for (int k = 0; k < block.panels; ++k)
      for (int64_t row = first; row < end; ++row)
        depthwise_->multiply_row(table, weights + (block.panel + k) * taps, block.panel + k,
                                 buffer + k * panel + (row - first) * window.stride_y * row_floats + left, row_floats,
                                 y + y_.layout.at((block.panel + k) * kChannelBlock, row, 0), nullptr, finish_);
  }

  // The halo on the left and on the right; what is between them is written before it is read.
  void clear_sides(float* buffer, int64_t rows) const {
    const int64_t side = between_.halo * kChannelBlock;
    for (int64_t row = 0; row < rows; ++row, buffer += between_.row()) {
      std::fill_n(buffer, side, 0.0F);
      std::fill_n(buffer + between_.row() - side, side, 0.0F);
    }
  }

  // Rows [first, end) of the image between, which lie outside of it.
  void clear(float* buffer, int64_t first, int64_t end, int64_t top) const {
    if (first < end)
      std::memset(buffer + (first - top) * between_.row(), 0, static_cast<size_t>((end - first) * between_.row()) * 4);
  }

  const Value x_, y_;
  ImageLayout between_{};
  std::unique_ptr<const ConvolutionWeights> expand_weights_, depthwise_weights_;
  std::unique_ptr<const Convolution> expand_;
  std::unique_ptr<const DepthwiseConvolution> depthwise_;
  Finish expand_finish_{}, finish_{};
  int64_t reach_ = 0, band_rows_ = 0, buffer_rows_ = 0;
  std::vector<int32_t> y_at_;
};

}  // namespace

std::unique_ptr<Step> make_expanded_depthwise(const StepText& text) {
  return std::make_unique<ExpandedDepthwise>(text);
}

}  // namespace tersely
