// Steps that multiply by weights: convolutions of blocked images, products of rows.
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/depthwise.hpp"
#include "tersely/backends/cpu/network/pixels.hpp"
#include "tersely/backends/cpu/network/sparse_convolution.hpp"
#include "tersely/backends/cpu/network/step.hpp"
#include "tersely/backends/cpu/network/weights_of.hpp"
#include "tersely/backends/cpu/network/windows.hpp"
#include "tersely/backends/cpu/network/winograd.hpp"

namespace tersely {
namespace {

class ConvolutionStep final : public Step {
 public:
  explicit ConvolutionStep(const StepText& text)
      : x_(text.image("x")),
        y_(text.value("y")),
        has_residual_(text.has("residual")),
        residual_(has_residual_ ? text.value("residual") : y_) {
    const Window window = window_of(text);
    const int64_t channels = x_.layout.channels, outputs = y_.layout.channels, count = text.number_or("groups", 1);
    fits(count > 0 && channels % count == 0 && outputs % count == 0, "channels are not shared out to groups");
    fits(x_.images == y_.images, "x and y have different numbers of images");
    fits(!overlap(x_, y_), "y lies over x");
    const bool sparse = text.has("method") && text.word("method") == "sparse";
    fits(!has_residual_ || (residual_.layout.channels == outputs && residual_.layout.blocked != sparse &&
                            residual_.layout.height == y_.layout.height && residual_.layout.width == y_.layout.width &&
                            residual_.images == y_.images && !overlap(residual_, y_)),
         "the residual has another shape than y, or y lies over it");
    const ImageLayout* residual = has_residual_ ? &residual_.layout : nullptr;
    const bool depthwise = count == channels && count == outputs && count > 1;
    const Groups groups = depthwise ? Groups{1, 1, outputs} : Groups{count, channels / count, outputs / count};
    const int64_t taps = window.height * window.width;
    checked_product(groups.channels, taps);
    if (!sparse) weights_ = weights_of(text.constant("weight"), groups, taps, depthwise ? 1 : x_.layout.pixel_floats());
    if (sparse) {
      const CodedMatrix* coded = text.constant("weight").coded;
      fits(coded != nullptr && !depthwise, "a sparse convolution takes a coded weight, and is not depthwise");
      nonzero_ = std::make_unique<SparseWeights>(*coded, groups, taps);
      sparse_ = std::make_unique<SparseConvolution>(*nonzero_, x_.layout, y_.layout, residual, window);
    } else if (text.has("method")) {
      fits(text.word("method") == "winograd" && !depthwise, "unknown method of convolution");
      winograd_ = std::make_unique<Winograd>(*weights_, x_.layout, y_.layout, residual, window);
    } else if (depthwise) {
      depthwise_ = std::make_unique<DepthwiseConvolution>(*weights_, x_.layout, y_.layout, residual, window);
    } else {
      direct_ = std::make_unique<Convolution>(*weights_, x_.layout, y_.layout, residual, window);
    }
    const int64_t whole = y_.layout.blocks() * kChannelBlock;
    Activated activated = activated_of(text);
    if (sparse && activated.activation != PixelActivation::kNone)  // of numbers, which do not lie in blocks of channels
      activated = {activated.bounds, PixelActivation::kNone, unary_of(text.word("activation"))};
    finish_ = {text.floats_or_null("scale", whole),
               text.floats_or_null("shift", whole),
               activated.bounds.low,
               activated.bounds.high,
               activated.activation,
               activated.unary};
    fits(!activated.unary || direct_ != nullptr || sparse, "only a direct or sparse convolution finishes so");
  }

  int64_t workspace_floats() const override {
    return sparse_ != nullptr ? sparse_->workspace_floats() : winograd_ != nullptr ? winograd_->workspace_floats() : 0;
  }

  const Convolution* walked() const override { return direct_.get(); }
  void before(const Convolution* next) override { next_ = next; }

  void run(const Run& run) const override {
    const float *x = run.floats(x_), *residual = has_residual_ ? run.floats(residual_) : nullptr;
    float* y = run.floats(y_);
    if (sparse_ != nullptr) {
      sparse_->run(x, y, residual, x_.images, finish_, run.workspace, run.threads);
    } else if (winograd_ != nullptr) {
      winograd_->run(x, y, residual, x_.images, finish_, run.workspace, run.threads);
    } else if (depthwise_ != nullptr) {
      depthwise_->run(x, y, residual, x_.images, finish_, run.threads);
    } else {
      direct_->run(x, y, residual, x_.images, finish_, run.threads, next_);
    }
  }

 private:
  const Value x_, y_;
  const bool has_residual_;
  const Value residual_;
  std::unique_ptr<const ConvolutionWeights> weights_;
  std::unique_ptr<const Convolution> direct_;
  const Convolution* next_ = nullptr;
  std::unique_ptr<const DepthwiseConvolution> depthwise_;
  std::unique_ptr<const Winograd> winograd_;
  std::unique_ptr<const SparseWeights> nonzero_;
  std::unique_ptr<const SparseConvolution> sparse_;
  Finish finish_{};
};

// Rows of x: images of one pixel each, channels in a row.
class Linear final : public Step {
 public:
  explicit Linear(const StepText& text) : x_(text.value("x")), y_(text.value("y")) {
    for (const ImageLayout* l : {&x_.layout, &y_.layout})
      fits(l->height == 1 && l->width == 1 && l->halo == 0 && (!l->blocked || l->channels % kChannelBlock == 0),
           "a product takes rows");
    fits(x_.images == y_.images, "x and y have different numbers of rows");
    fits(!overlap(x_, y_), "y lies over x");
    const int64_t columns = x_.layout.channels, rows = y_.layout.channels;
    const Constant weight = text.constant("weight");
    if (weight.coded != nullptr) {
      fits(weight.coded->products() == Products::kFloats, "the weight has no product of floats");
      matrix_ = weight.coded;
      const Geometry& g = matrix_->geometry();
      fits(g.count == 1 && columns == g.columns && rows == g.rows,
           "the weight has other columns than x, or other rows than y");
    } else {
      numbers_ = weights_of(weight, {1, columns, rows}, 1, 1);
      // Rows are pixels of one image, of which blocks of outputs are made and then rows.
      const int64_t images = x_.images;
      for (int64_t image = 0; image < images; ++image) {
        fits(image * std::max(columns, kChannelBlock) <= std::numeric_limits<int32_t>::max(), "x has too many numbers");
        x_at_.push_back(static_cast<int32_t>(image * columns));
        y_at_.push_back(static_cast<int32_t>(image * kChannelBlock));
      }
    }
    bias_ = text.floats_or_null("bias", ceil_div(rows, kChannelBlock) * kChannelBlock);
    if (text.has("activation")) {
      fits(text.word("activation") == "relu", "a product of rows finishes with relu");
      activation_ = Activation::kRelu;
    }
  }

  int64_t workspace_floats() const override {
    return numbers_ == nullptr ? 0 : ceil_div(y_.layout.channels, kChannelBlock) * kChannelBlock * x_.images;
  }

  void run(const Run& run) const override {
    if (numbers_ != nullptr) return run_numbers(run);
    Epilogue y{DType::kFloat32, run.floats(y_), y_.layout.floats()};
    y.bias = bias_;
    y.activation = activation_;
    const FlushedResults floats;  // kernels multiply by codes as they decode them: a weight's scale may be subnormal
    matrix_->multiply({DType::kFloat32, x_.images, run.floats(x_), x_.layout.floats()}, y, run.threads, false);
  }

 private:
  void run_numbers(const Run& run) const {
    const KernelTable& table = active_table();
    const int64_t columns = x_.layout.channels, outputs = y_.layout.channels, images = x_.images;
    numbers_->visit(table, [&](const auto& panels) {
      parallel_for_ranges(run.threads, panels.items(), [&](int64_t item) {
        panels.walk(item, columns, [&](const FloatBlock& block) {
          const int32_t offset = 0;
          ConvolutionBlock b{};
          b.weights = block.weights, b.panel_stride = block.panel_stride, b.panels = block.panels;
          b.offsets = &offset, b.runs = 1, b.run = columns, b.first = b.last = true;
          b.x = run.floats(x_);
          b.y = run.workspace + block.panel * images * kChannelBlock, b.y_panel_stride = images * kChannelBlock;
          b.shift = bias_ == nullptr ? nullptr : bias_ + block.panel * kPanelRows;
          b.low = activation_ == Activation::kRelu ? 0.0F : -std::numeric_limits<float>::infinity();
          b.high = std::numeric_limits<float>::infinity();
          table.convolve(b, {x_at_.data(), y_at_.data(), y_at_.data()}, images);
          for (int k = 0; k < block.panels; ++k) {
            const int64_t first = (block.panel + k) * kPanelRows, count = std::min(kPanelRows, outputs - first);
            for (int64_t image = 0; image < images; ++image)
              std::memcpy(run.floats(y_) + image * outputs + first, b.y + k * b.y_panel_stride + image * kChannelBlock,
                          static_cast<size_t>(count) * 4);
          }
        });
      });
    });
  }

  const Value x_, y_;
  const CodedMatrix* matrix_ = nullptr;
  std::unique_ptr<const ConvolutionWeights> numbers_;
  std::vector<int32_t> x_at_, y_at_;
  const float* bias_ = nullptr;
  Activation activation_ = Activation::kNone;
};

}  // namespace

std::unique_ptr<Step> make_convolution(const StepText& text) {
  if (text.has("method") && text.word("method") == "bfloat16") return make_pair_convolution(text);
  return std::make_unique<ConvolutionStep>(text);
}
std::unique_ptr<Step> make_linear(const StepText& text) { return std::make_unique<Linear>(text); }

}  // namespace tersely
