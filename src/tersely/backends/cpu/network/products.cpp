// Steps that multiply by weights: convolutions of blocked images, products of rows.
#include <cmath>
#include <limits>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/network/step.hpp"
#include "tersely/backends/cpu/network/winograd.hpp"

namespace tersely {
namespace {

struct Bounds {
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
};

// "relu" and "relu6" are bounds; other activations are passes over what a worker has just written.
Bounds bounds_of(const StepText& text) {
  Bounds found;
  if (!text.has("activation")) return found;
  const std::string& name = text.word("activation");
  if (name == "relu" || name == "relu6") found.low = 0.0F;
  if (name == "relu6") found.high = 6.0F;
  return found;
}

class ConvolutionStep final : public Step {
 public:
  explicit ConvolutionStep(const StepText& text)
      : x_(text.value("x")),
        y_(text.value("y")),
        has_residual_(text.has("residual")),
        residual_(has_residual_ ? text.value("residual") : y_) {
    const Constant weight = text.constant("weight");
    fits(weight.coded != nullptr && weight.coded->words() != nullptr, "the weight is no matrix of words");
    weights_ = weight.coded->words();
    const Geometry& g = weights_->geometry;
    const Window window{text.number("height"),           text.number("width"),
                        text.number("stride_y"),         text.number("stride_x"),
                        text.number_or("dilation_y", 1), text.number_or("dilation_x", 1),
                        text.number_or("pad_y", 0),      text.number_or("pad_x", 0)};
    fits(g.count == 1 && g.rows == y_.layout.channels &&
             g.columns == x_.layout.channels * window.height * window.width && x_.images == y_.images,
         "the weight has other channels than x and y");
    fits(!overlap(x_, y_), "y lies over x");
    fits(!has_residual_ || (residual_.layout.channels == y_.layout.channels && residual_.layout.blocked &&
                            residual_.layout.height == y_.layout.height && residual_.layout.width == y_.layout.width &&
                            residual_.images == y_.images && !overlap(residual_, y_)),
         "the residual has another shape than y, or y lies over it");
    const ImageLayout* residual = has_residual_ ? &residual_.layout : nullptr;
    if (text.has("method")) {
      fits(text.word("method") == "winograd", "unknown method of convolution");
      winograd_ = std::make_unique<Winograd>(x_.layout, y_.layout, residual, window, g.column_offsets);
    } else {
      direct_ = std::make_unique<Convolution>(x_.layout, y_.layout, residual, window, g.column_offsets);
    }
    const int64_t outputs = y_.layout.blocks() * kChannelBlock;
    const Bounds bounds = bounds_of(text);
    finish_ = {text.floats_or_null("scale", outputs), text.floats_or_null("shift", outputs), bounds.low, bounds.high};
    if (text.has("activation") && std::isinf(bounds.low)) {
      fits(direct_ != nullptr, "Winograd's method finishes with relu or relu6");
      finish_.activation = unary_of(text.word("activation"));
    }
  }

  int64_t workspace_floats() const override { return winograd_ == nullptr ? 0 : winograd_->workspace_floats(); }

  void run(const Run& run) const override {
    const float *x = run.arena + x_.at, *residual = has_residual_ ? run.arena + residual_.at : nullptr;
    float* y = run.arena + y_.at;
    if (winograd_ != nullptr) {
      winograd_->run(*weights_, x, y, residual, x_.images, finish_, run.workspace, run.threads);
    } else {
      direct_->run(*weights_, x, y, residual, x_.images, finish_, run.threads);
    }
  }

 private:
  const Value x_, y_;
  const bool has_residual_;
  const Value residual_;
  const MatrixView* weights_;
  std::unique_ptr<const Convolution> direct_;
  std::unique_ptr<const Winograd> winograd_;
  Finish finish_{};
};

// Rows of x: images of one pixel each, channels in a row.
class Linear final : public Step {
 public:
  explicit Linear(const StepText& text) : x_(text.value("x")), y_(text.value("y")) {
    const Constant weight = text.constant("weight");
    fits(weight.coded != nullptr && weight.coded->products() == Products::kFloats,
         "the weight has no product of floats");
    matrix_ = weight.coded;
    const Geometry& g = matrix_->geometry();
    for (const ImageLayout* l : {&x_.layout, &y_.layout})
      fits(l->height == 1 && l->width == 1 && l->halo == 0 && (!l->blocked || l->channels % kChannelBlock == 0),
           "a product takes rows");
    fits(g.count == 1 && x_.layout.channels == g.columns && y_.layout.channels == g.rows && x_.images == y_.images,
         "the weight has other columns than x, or other rows than y");
    fits(!overlap(x_, y_), "y lies over x");
    bias_ = text.floats_or_null("bias", g.rows);
    if (text.has("activation")) {
      fits(text.word("activation") == "relu", "a product of rows finishes with relu");
      activation_ = Activation::kRelu;
    }
  }

  void run(const Run& run) const override {
    Epilogue y{DType::kFloat32, run.arena + y_.at, y_.layout.floats()};
    y.bias = bias_;
    y.activation = activation_;
    matrix_->multiply({DType::kFloat32, x_.images, run.arena + x_.at, x_.layout.floats()}, y, run.threads, false);
  }

 private:
  const Value x_, y_;
  const CodedMatrix* matrix_;
  const float* bias_ = nullptr;
  Activation activation_ = Activation::kNone;
};

}  // namespace

std::unique_ptr<Step> make_convolution(const StepText& text) { return std::make_unique<ConvolutionStep>(text); }
std::unique_ptr<Step> make_linear(const StepText& text) { return std::make_unique<Linear>(text); }

}  // namespace tersely
