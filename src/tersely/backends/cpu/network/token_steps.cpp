// Steps on tokens: layer norm, softmax, embeddings.
#include <algorithm>
#include <cmath>
#include <vector>

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {
namespace {

// Tokens that a worker takes at once.
constexpr int64_t kTokens = 16;

bool are_tokens(const Value& v) { return v.layout.blocked && v.layout.height == 1 && v.layout.halo == 0; }

class LayerNorm final : public Step {
 public:
  explicit LayerNorm(const StepText& text) : x_(text.value("x")), y_(text.value("y")), eps_(text.real("eps")) {
    fits(are_tokens(x_) && are_tokens(y_) && x_.images == y_.images && x_.layout.width == y_.layout.width &&
             x_.layout.channels == y_.layout.channels,
         "a norm takes and gives tokens, as many of as many channels");
    fits(!overlap(x_, y_), "y lies over x");
    const int64_t channels = y_.layout.blocks() * kChannelBlock;
    weight_ = text.floats_or_null("weight", channels);
    bias_ = text.floats_or_null("bias", channels);
  }

  void run(const Run& run) const override {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    const KernelTable& table = active_table();
    const int64_t parts = (in.width + kTokens - 1) / kTokens;
    parallel_for_ranges(run.threads, x_.images * parts, [&](int64_t item) {
      const int64_t image = item / parts, first = item % parts * kTokens;
      const TokenNorm norm{run.floats(x_) + image * in.floats() + first * kChannelBlock,
                           run.floats(y_) + image * out.floats() + first * kChannelBlock,
                           in.plane(),
                           out.plane(),
                           in.channels,
                           weight_,
                           bias_,
                           eps_};
      table.tokens.norm(norm, std::min(kTokens, in.width - first));
    });
  }

 private:
  const Value x_, y_;
  const float eps_;
  const float *weight_, *bias_;
};

// Of the channels of plain rows, [images][channels].
class Softmax final : public Step {
 public:
  explicit Softmax(const StepText& text) : x_(text.value("x")), y_(text.value("y")) {
    for (const Value* one : {&x_, &y_})
      fits(!one->layout.blocked && one->layout.plane() == 1 && one->images == y_.images &&
               one->layout.channels == y_.layout.channels,
           "softmax takes and gives plain rows");
    fits(!overlap(x_, y_), "y lies over x");
  }

  void run(const Run& run) const override {
    const KernelTable& table = active_table();
    const int64_t count = x_.layout.channels;
    parallel_for_ranges(run.threads, x_.images, [&](int64_t row) {
      table.tokens.softmax(run.floats(x_) + row * count, count, run.floats(y_) + row * count);
    });
  }

 private:
  const Value x_, y_;
};

// Rows of a table by their numbers; rows lie as they are.
class Embedding final : public Step {
 public:
  explicit Embedding(const StepText& text) : x_(text.value("x")), y_(text.value("y")), count_(x_.floats()) {
    const int64_t width = y_.layout.channels;
    rows_ = text.number("rows");
    fits(rows_ > 0 && width > 0 && y_.layout.plane() == 1 && !y_.layout.blocked && y_.images == count_ &&
             rows_ <= kLargestTable / width,
         "an embedding gives a plain row for each number");
    fits(!overlap(x_, y_), "y lies over x");
    const Constant weight = text.constant("weight");
    if (weight.coded != nullptr) {
      const Geometry& g = weight.coded->geometry();
      fits(g.count == 1 && g.rows == rows_ && g.columns == width && weight.coded->products() == Products::kFloats &&
               weight.coded->word_bytes() == word_bytes_of(weight.coded->dtype()) && weight.coded->word_bytes() >= 2,
           "a table has other rows or columns than the step, or is of no floats of 16 or 32 bits");
      coded_ = weight.coded;
      is_narrow_ = coded_->word_bytes() == 2;
    } else {
      numbers_ = text.floats_or_null("weight", rows_ * width);
    }
  }

  // The rows that are wanted, and words of 16 bits until they are widened.
  int64_t workspace_floats() const override { return 2 * count_ + (is_narrow_ ? ceil_div(y_.floats(), 2) : 0); }

  void run(const Run& run) const override {
    auto* wanted = reinterpret_cast<int64_t*>(run.workspace);
    const float* x = run.floats(x_);
    for (int64_t i = 0; i < count_; ++i) {
      if (!(x[i] >= 0 && x[i] < static_cast<float>(rows_) && x[i] == std::floor(x[i])))
        throw std::invalid_argument("number " + std::to_string(i) + " of an embedding's input is " +
                                    std::to_string(x[i]) + ": the table has rows 0 to " + std::to_string(rows_ - 1));
      wanted[i] = static_cast<int64_t>(x[i]);
    }
    float* y = run.floats(y_);
    const int64_t width = y_.layout.channels;
    if (coded_ != nullptr) {
      const DefaultFloats exact;
      auto* words = reinterpret_cast<uint16_t*>(run.workspace + 2 * count_);
      coded_->pick(wanted, count_, reinterpret_cast<uint8_t*>(is_narrow_ ? reinterpret_cast<float*>(words) : y),
                   run.threads);
      if (is_narrow_) {
        const KernelTable& table = active_table();
        const DType dtype = coded_->dtype();
        parallel_for_ranges(run.threads, count_, [&](int64_t i) {
          const DefaultFloats exact_too;
          table.widen_words(dtype, words + i * width, width, y + i * width);
        });
      }
    } else {
      parallel_for_ranges(run.threads, count_,
                          [&](int64_t i) { std::copy_n(numbers_ + wanted[i] * width, width, y + i * width); });
    }
  }

 private:
  static constexpr int64_t kLargestTable = int64_t{1} << 40;
  const Value x_, y_;
  const int64_t count_;
  int64_t rows_;
  const CodedMatrix* coded_ = nullptr;
  bool is_narrow_ = false;
  const float* numbers_ = nullptr;
};

}  // namespace

std::unique_ptr<Step> make_layer_norm(const StepText& text) { return std::make_unique<LayerNorm>(text); }
std::unique_ptr<Step> make_softmax(const StepText& text) { return std::make_unique<Softmax>(text); }
std::unique_ptr<Step> make_embedding(const StepText& text) { return std::make_unique<Embedding>(text); }

}  // namespace tersely
