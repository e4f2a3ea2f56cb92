// Steps that multiply bytes by weights: convolutions, and products of rows as convolutions of one pixel.
#include <cmath>
#include <limits>

#include "tersely/backends/cpu/network/quantised.hpp"
#include "tersely/backends/cpu/network/quantised_convolution.hpp"
#include "tersely/backends/cpu/network/windows.hpp"

namespace tersely {
namespace {

// As "convolution", and "signed": whether weights are int8; "x_zero", "weight_zero", "bias", "scale": what sums are
// multiplied by. y of bytes: "low", "high", "zero"; y of floats: an activation that bounds.
class QuantisedConvolutionStep final : public Step {
 public:
  explicit QuantisedConvolutionStep(const StepText& text) : x_(text.quantised("x")), y_(text.any_value("y")) {
    const Window window = window_of(text);
    const int64_t channels = x_.layout.channels, outputs = y_.layout.channels, count = text.number_or("groups", 1);
    fits(count > 0 && channels % count == 0 && outputs % count == 0, "channels are not shared out to groups");
    fits(x_.images == y_.images, "x and y have different numbers of images");
    fits(!overlap(x_, y_), "y lies over x");
    const int64_t whole = ceil_div(outputs, kPanelRows) * kPanelRows;
    const float* scale = text.floats_or_null("scale", whole);
    fits(scale != nullptr, "a product of bytes without a scale");
    for (int64_t i = 0; i < whole; ++i) fits(std::isfinite(scale[i]), "a scale is no finite number");
    const Requantisation to = y_.bytes ? requantisation_of(text, scale) : bounds_of(text, scale);
    const QuantisedOperands operands{text.number_or("in_out", 0) != 0, text.number("signed") != 0,
                                     text.integers_or_null("weight_zero", outputs),
                                     text.integers_or_null("bias", outputs), byte_of(text, "x_zero")};
    const bool depthwise = count == channels && count == outputs && count > 1 && y_.bytes;
    const Groups groups{count, channels / count, outputs / count};
    const int64_t taps = window.height * window.width;
    const std::vector<int16_t> differences = differences_of(text.constant("weight"), groups, taps, operands);
    std::vector<int32_t> starts = starts_of(differences, outputs, operands);
    if (depthwise) {
      depthwise_ = std::make_unique<QuantisedDepthwiseConvolution>(differences, std::move(starts), to, x_.layout,
                                                                   y_.layout, window);
    } else {
      const CodedMatrix* coded = text.constant("weight").coded;
      direct_ = std::make_unique<QuantisedConvolution>(QuantisedPanels::walks(coded, groups, taps, operands)
                                                           ? QuantisedPanels(*coded, groups, taps, operands)
                                                           : QuantisedPanels(differences, groups, taps),
                                                       std::move(starts), to, x_.layout, y_.layout, window);
    }
  }

  void run(const Run& run) const override {
    const uint8_t* x = run.bytes(x_);
    if (depthwise_ != nullptr) return depthwise_->run(x, run.bytes(y_), x_.images, run.threads);
    const QuantisedResult y{y_.bytes ? run.bytes(y_) : nullptr, y_.bytes ? nullptr : run.floats(y_)};
    direct_->run(x, y, x_.images, run.threads);
  }

 private:
  static Requantisation bounds_of(const StepText& text, const float* scale) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    if (!text.has("activation")) return {scale, -kInfinity, kInfinity, 0};
    const std::string& name = text.word("activation");
    fits(name == "relu" || name == "relu6", "a product of bytes to floats finishes with relu or relu6");
    return {scale, 0, name == "relu" ? kInfinity : 6.0F, 0};
  }

  const Value x_, y_;
  std::unique_ptr<const QuantisedConvolution> direct_;
  std::unique_ptr<const QuantisedDepthwiseConvolution> depthwise_;
};

}  // namespace

std::unique_ptr<Step> make_quantised_convolution(const StepText& text) {
  return std::make_unique<QuantisedConvolutionStep>(text);
}

}  // namespace tersely
