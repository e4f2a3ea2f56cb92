// Steps on every number of one or two values of the same layout: what no product could finish with.
#include <algorithm>
#include <cmath>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {
namespace {

using Unary = float (*)(float);
using Binary = float (*)(float, float);

struct UnaryRow {
  const char* name;
  Unary of;
};
constexpr UnaryRow kUnary[] = {
    {"copy", [](float a) { return a; }},
    {"relu", [](float a) { return a < 0 ? 0.0F : a; }},
    {"relu6", [](float a) { return a < 0   ? 0.0F
                                   : a > 6 ? 6.0F
                                           : a; }},
    {"sigmoid", [](float a) { return 1.0F / (1.0F + std::exp(-a)); }},
    {"silu", [](float a) { return a / (1.0F + std::exp(-a)); }},
    {"tanh", [](float a) { return std::tanh(a); }},
    {"hard_sigmoid", [](float a) { return std::min(6.0F, std::max(0.0F, a + 3)) / 6; }},
    {"hard_swish", [](float a) { return a * (std::min(6.0F, std::max(0.0F, a + 3)) / 6); }},
    {"gelu", [](float a) { return 0.5F * a * (1.0F + std::erf(a * 0.7071067811865476F)); }},
    {"gelu_tanh",
     [](float a) { return 0.5F * a * (1.0F + std::tanh(0.7978845608028654F * (a + 0.044715F * a * a * a))); }},
};
struct BinaryRow {
  const char* name;
  Binary of;
};
constexpr BinaryRow kBinary[] = {
    {"add", [](float a, float b) { return a + b; }},
    {"subtract", [](float a, float b) { return a - b; }},
    {"multiply", [](float a, float b) { return a * b; }},
};

bool same_layout(const Value& a, const Value& b) {
  const ImageLayout &l = a.layout, &m = b.layout;
  return a.images == b.images && l.channels == m.channels && l.height == m.height && l.width == m.width &&
         l.blocked == m.blocked;
}

class Pointwise final : public Step {
 public:
  explicit Pointwise(const StepText& text) : x_(text.value("x")), y_(text.value("y")) {
    const std::string& name = text.word("kind");
    fits(same_layout(x_, y_), "x and y have different layouts");
    if (text.has("z")) {
      z_ = std::make_unique<Value>(text.value("z"));
      fits(same_layout(x_, *z_), "x and z have different layouts");
      for (const BinaryRow& row : kBinary)
        if (name == row.name) binary_ = row.of;
    } else {
      for (const UnaryRow& row : kUnary)
        if (name == row.name) unary_ = row.of;
    }
    fits(unary_ != nullptr || binary_ != nullptr, "unknown kind of pointwise operator");
    fits(!text.has("activation") || text.word("activation") == "relu", "a pointwise operator finishes with relu");
    relu_ = text.has("activation");
  }

  void run(const Run& run) const override {
    const ImageLayout& l = y_.layout;
    const int64_t planes = y_.images * (l.blocked ? l.blocks() : l.channels), row = l.width * l.pixel_floats();
    parallel_for(run.threads, planes, [&](int64_t plane) {
      for (int64_t y = 0; y < l.height; ++y) {
        const float* a = run.arena + x_.at + plane * x_.layout.plane() + x_.layout.at(0, y, 0);
        float* to = run.arena + y_.at + plane * l.plane() + l.at(0, y, 0);
        if (unary_ != nullptr) {
          for (int64_t i = 0; i < row; ++i) to[i] = unary_(a[i]);
        } else {
          const float* b = run.arena + z_->at + plane * z_->layout.plane() + z_->layout.at(0, y, 0);
          for (int64_t i = 0; i < row; ++i) to[i] = binary_(a[i], b[i]);
        }
        if (relu_)
          for (int64_t i = 0; i < row; ++i) to[i] = to[i] < 0 ? 0.0F : to[i];
      }
    });
  }

 private:
  const Value x_, y_;
  std::unique_ptr<const Value> z_;
  Unary unary_ = nullptr;
  Binary binary_ = nullptr;
  bool relu_ = false;
};

}  // namespace

std::unique_ptr<Step> make_pointwise(const StepText& text) { return std::make_unique<Pointwise>(text); }

}  // namespace tersely
