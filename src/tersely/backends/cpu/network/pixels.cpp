// Steps on blocked images that go number by number, with what their pixels or images have in common on the other side:
// a number for each channel, or for each image and channel.
#include "tersely/backends/cpu/network/pixels.hpp"

#include <algorithm>
#include <limits>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace tersely {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct ActivationRow {
  const char* name;
  PixelBounds bounds;
  PixelActivation activation;
};
constexpr ActivationRow kActivations[] = {
    {"relu", {0.0F, kInfinity}, PixelActivation::kNone},
    {"relu6", {0.0F, 6.0F}, PixelActivation::kNone},
    {"hard_sigmoid", {-kInfinity, kInfinity}, PixelActivation::kHardSigmoid},
    {"hard_swish", {-kInfinity, kInfinity}, PixelActivation::kHardSwish},
    {"sigmoid", {-kInfinity, kInfinity}, PixelActivation::kSigmoid},
    {"silu", {-kInfinity, kInfinity}, PixelActivation::kSilu},
};

bool same_shape(const Value& a, const Value& b) {
  return a.images == b.images && a.layout.channels == b.layout.channels && a.layout.height == b.layout.height &&
         a.layout.width == b.layout.width;
}

// Where a row of pixels of a block of channels begins.
const float* row_of(const Run& run, const Value& value, int64_t image, int64_t block, int64_t y) {
  return run.floats(value) + image * value.layout.floats() + value.layout.at(block * kChannelBlock, y, 0);
}

// f(image, block of channels, row) for all rows of pixels of a value.
template <class F>
void each_row(const Value& value, int threads, F&& f) {
  const ImageLayout& l = value.layout;
  const int64_t planes = value.images * l.blocks();
  parallel_for_ranges(threads, planes * l.height, [&](int64_t item) {
    const int64_t plane = item % planes;
    f(plane / l.blocks(), plane % l.blocks(), item / planes);
  });
}

// y = x op z, where z may have one image, channel, row or column for all of y's.
class Combine final : public Step {
 public:
  explicit Combine(const StepText& text) : x_(text.value("x")), z_(text.value("z")), y_(text.value("y")) {
    const std::string& name = text.word("kind");
    fits(name == "add" || name == "subtract" || name == "multiply", "unknown kind of arithmetic");
    arithmetic_ = name == "add"        ? PixelArithmetic::kAdd
                  : name == "subtract" ? PixelArithmetic::kSubtract
                                       : PixelArithmetic::kMultiply;
    const auto one_or = [](int64_t a, int64_t b) { return a == 1 || a == b; };
    const ImageLayout &z = z_.layout, &y = y_.layout;
    fits(same_shape(x_, y_) && one_or(z_.images, y_.images) && one_or(z.channels, y.channels) &&
             one_or(z.height, y.height) && one_or(z.width, y.width),
         "x has another shape than y, or z one that does not fit");
    fits(x_.layout.blocked && z.blocked && y.blocked, "arithmetic on images takes blocks of channels");
    fits(!overlap(x_, y_) && !overlap(z_, y_), "y lies over an operand");
    bounds_ = bounds_of(text);
  }

  void run(const Run& run) const override {
    const KernelTable& table = active_table();
    const ImageLayout &z = z_.layout, &y = y_.layout;
    const int64_t width = y.width;
    const bool one_channel = z.channels == 1 && y.channels != 1;
    each_row(y_, run.threads, [&](int64_t image, int64_t block, int64_t row) {
      const float* from = row_of(run, x_, image, block, row);
      const float* with =
          row_of(run, z_, z_.images == 1 ? 0 : image, z.channels == 1 ? 0 : block, z.height == 1 ? 0 : row);
      float* to = const_cast<float*>(row_of(run, y_, image, block, row));
      const int64_t step = z.width == 1 ? 0 : kChannelBlock;
      if (!one_channel) return table.pixels.combine(arithmetic_, from, with, step, bounds_, to, width);
      for (int64_t pixel = 0; pixel < width; ++pixel) {
        float same[kChannelBlock];
        std::fill(same, same + kChannelBlock, with[pixel * step]);
        table.pixels.combine(arithmetic_, from + pixel * kChannelBlock, same, 0, bounds_, to + pixel * kChannelBlock,
                             1);
      }
    });
  }

 private:
  const Value x_, z_, y_;
  PixelArithmetic arithmetic_{};
  PixelBounds bounds_{};
};

// y = x x scale + shift, a number of each for every channel: a batch norm that follows no convolution.
class ScaleShift final : public Step {
 public:
  explicit ScaleShift(const StepText& text) : x_(text.value("x")), y_(text.value("y")) {
    fits(same_shape(x_, y_) && x_.layout.blocked && y_.layout.blocked, "x and y have different shapes");
    fits(!overlap(x_, y_), "y lies over x");
    const int64_t whole = y_.layout.blocks() * kChannelBlock;
    scale_ = text.floats_or_null("scale", whole), shift_ = text.floats_or_null("shift", whole);
    fits(scale_ != nullptr && shift_ != nullptr, "a scale or a shift is missing");
    activated_ = activated_of(text);
    fits(!activated_.unary, "unknown activation of pixels");
  }

  void run(const Run& run) const override {
    const KernelTable& table = active_table();
    each_row(y_, run.threads, [&](int64_t image, int64_t block, int64_t row) {
      const int64_t channel = block * kChannelBlock;
      float* to = const_cast<float*>(row_of(run, y_, image, block, row));
      table.pixels.scale_shift(row_of(run, x_, image, block, row), scale_ + channel, shift_ + channel,
                               activated_.bounds, to, y_.layout.width);
      table.pixels.activate(activated_.activation, to, y_.layout.width);
    });
  }

 private:
  const Value x_, y_;
  const float *scale_ = nullptr, *shift_ = nullptr;
  Activated activated_{};
};

// y = activation(x).
class Activate final : public Step {
 public:
  explicit Activate(const StepText& text) : x_(text.value("x")), y_(text.value("y")), activated_(activated_of(text)) {
    fits(same_shape(x_, y_) && x_.layout.blocked && y_.layout.blocked, "x and y have different shapes");
    fits(!overlap(x_, y_), "y lies over x");
    fits(!activated_.unary, "unknown activation of pixels");
  }

  void run(const Run& run) const override {
    const KernelTable& table = active_table();
    static constexpr float kOnes[kChannelBlock] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static constexpr float kZeros[kChannelBlock] = {};
    each_row(y_, run.threads, [&](int64_t image, int64_t block, int64_t row) {
      float* to = const_cast<float*>(row_of(run, y_, image, block, row));
      table.pixels.scale_shift(row_of(run, x_, image, block, row), kOnes, kZeros, activated_.bounds, to,
                               y_.layout.width);
      table.pixels.activate(activated_.activation, to, y_.layout.width);
    });
  }

 private:
  const Value x_, y_;
  const Activated activated_;
};

}  // namespace

Activated activated_of(const StepText& text) {
  if (!text.has("activation")) return {{-kInfinity, kInfinity}, PixelActivation::kNone};
  const std::string& name = text.word("activation");
  for (const ActivationRow& row : kActivations)
    if (name == row.name) return {row.bounds, row.activation};
  return {{-kInfinity, kInfinity}, PixelActivation::kNone, unary_of(name)};
}

PixelBounds bounds_of(const StepText& text) {
  const Activated found = activated_of(text);
  fits(found.activation == PixelActivation::kNone && !found.unary, "arithmetic finishes with relu or relu6");
  return found.bounds;
}

std::unique_ptr<Step> make_combine(const StepText& text) { return std::make_unique<Combine>(text); }
std::unique_ptr<Step> make_scale_shift(const StepText& text) { return std::make_unique<ScaleShift>(text); }
std::unique_ptr<Step> make_activate(const StepText& text) { return std::make_unique<Activate>(text); }

}  // namespace tersely
