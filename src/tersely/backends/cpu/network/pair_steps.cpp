// Steps of bfloat16: convolutions by pairs, and rounding what they read.
#include <algorithm>
#include <limits>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/pair_convolution.hpp"
#include "tersely/backends/cpu/network/pixels.hpp"
#include "tersely/backends/cpu/network/weights_of.hpp"
#include "tersely/backends/cpu/network/windows.hpp"

namespace tersely {
namespace {

bool same_layout(const Value& a, const Value& b) {
  const ImageLayout &l = a.layout, &m = b.layout;
  return a.images == b.images && l.channels == m.channels && l.height == m.height && l.width == m.width &&
         l.halo == m.halo && l.blocked == m.blocked;
}

// y = x in blocks of channels, rounded to bfloat16; channels beyond the last are zeros.
class Round final : public Step {
 public:
  explicit Round(const StepText& text) : x_(text.value("x")), y_(text.rounded("y")) {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    fits(out.blocked && x_.images == y_.images && in.channels == out.channels && in.height == out.height &&
             in.width == out.width,
         "y is no image in blocks of x's shape");
    fits(!overlap(x_, y_), "y lies over x");
  }

  void run(const Run& run) const override {
    const ImageLayout& out = y_.layout;
    const int64_t planes = y_.images * out.blocks(), pieces = ceil_div(out.width, kTogether);
    const int64_t rows = std::clamp<int64_t>(kTogether / out.width, 1, out.height);  // as many as are worth drawing
    const int64_t parts = ceil_div(out.height, rows);
    parallel_for_ranges(run.threads, planes * parts * pieces, [&](int64_t item) {
      const int64_t plane = item % planes, part = item / planes % parts, piece = item / planes / parts;
      const int64_t first = out.width * piece / pieces, count = out.width * (piece + 1) / pieces - first;
      for (int64_t y = part * rows; y < std::min((part + 1) * rows, out.height); ++y)
        round(run, plane / out.blocks(), plane % out.blocks() * kChannelBlock, y, first, count);
    });
  }

 private:
  static constexpr int64_t kTogether = 256;  // pixels

  void round(const Run& run, int64_t image, int64_t channel, int64_t y, int64_t first, int64_t count) const {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    const KernelTable& table = active_table();
    const float* from = run.floats(x_) + image * in.floats() + in.at(channel, y, first);
    uint16_t* to = run.words(y_) + image * out.floats() + out.at(channel, y, first);
    const int64_t channels = std::min(kChannelBlock, out.channels - channel);
    if (in.blocked) {
      table.pairs.round(from, count * kChannelBlock, to);
      if (channels == kChannelBlock) return;
      for (int64_t x = 0; x < count; ++x) std::fill(to + x * kChannelBlock + channels, to + (x + 1) * kChannelBlock, 0);
      return;
    }
    uint16_t row[kTogether];
    std::fill(to, to + count * kChannelBlock, 0);
    for (int64_t c = 0; c < channels; ++c) {
      table.pairs.round(from + c * in.plane(), count, row);
      for (int64_t x = 0; x < count; ++x) to[x * kChannelBlock + c] = row[x];
    }
  }

  const Value x_, y_;
};

class PairConvolutionStep final : public Step {
 public:
  explicit PairConvolutionStep(const StepText& text)
      : x_(text.rounded("x")),
        has_y_(text.has("y")),
        is_rounded_(text.has("rounded")),
        rounded_(is_rounded_ ? text.rounded("rounded") : Value{}),
        y_(has_y_ || !is_rounded_ ? text.value("y") : rounded_),
        has_residual_(text.has("residual")),
        residual_(has_residual_ ? text.value("residual") : y_) {
    const Window window = window_of(text);
    const int64_t channels = x_.layout.channels, outputs = y_.layout.channels, count = text.number_or("groups", 1);
    fits(count > 0 && channels % count == 0 && outputs % count == 0, "channels are not shared out to groups");
    fits(x_.images == y_.images, "x and y have different numbers of images");
    fits(!overlap(x_, y_), "y lies over x");
    fits(!is_rounded_ || (same_layout(y_, rounded_) && !overlap(x_, rounded_) && (!has_y_ || !overlap(y_, rounded_))),
         "y and the same rounded have different layouts, or one lies over another value");
    fits(!has_residual_ || (residual_.layout.channels == outputs && residual_.layout.blocked &&
                            residual_.layout.height == y_.layout.height && residual_.layout.width == y_.layout.width &&
                            residual_.images == y_.images && !overlap(residual_, y_) &&
                            (!is_rounded_ || !overlap(residual_, rounded_))),
         "the residual has another shape than y, or y lies over it");
    const Groups groups{count, channels / count, outputs / count};
    const int64_t taps = window.height * window.width;
    checked_product(groups.channels, taps);
    const Constant weight = text.constant("weight");
    const auto weights = weights_of(weight, groups, taps, kChannelBlock);
    weights_ = std::make_unique<PairWeights>(weight.coded == nullptr ? nullptr : weight.coded->words(), *weights, taps);
    convolution_ = std::make_unique<PairConvolution>(*weights_, x_.layout, y_.layout,
                                                     has_residual_ ? &residual_.layout : nullptr, window);
    const int64_t whole = y_.layout.blocks() * kChannelBlock;
    const Activated activated = activated_of(text);
    fits(has_y_ || (activated.activation == PixelActivation::kNone && !activated.unary),
         "what is activated is rounded afterwards, so y is wanted, too");
    finish_ = {text.floats_or_null("scale", whole),
               text.floats_or_null("shift", whole),
               activated.bounds.low,
               activated.bounds.high,
               activated.activation,
               activated.unary};
  }

  void run(const Run& run) const override {
    const PairResult y{has_y_ ? run.floats(y_) : nullptr, is_rounded_ ? run.words(rounded_) : nullptr};
    convolution_->run(run.words(x_), y, has_residual_ ? run.floats(residual_) : nullptr, x_.images, finish_,
                      run.threads);
  }

 private:
  const Value x_;
  const bool has_y_, is_rounded_;
  const Value rounded_, y_;
  const bool has_residual_;
  const Value residual_;
  std::unique_ptr<const PairWeights> weights_;
  std::unique_ptr<const PairConvolution> convolution_;
  Finish finish_{};
};

}  // namespace

std::unique_ptr<Step> make_round(const StepText& text) { return std::make_unique<Round>(text); }
std::unique_ptr<Step> make_pair_convolution(const StepText& text) {
  return std::make_unique<PairConvolutionStep>(text);
}

}  // namespace tersely
