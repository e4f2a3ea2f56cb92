// Steps on every number of one or two values of the same layout: what no product could finish with.
#include <algorithm>
#include <cstring>
#include <optional>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {
namespace {

struct UnaryRow {
  const char* name;
  Unary kind;
};
constexpr UnaryRow kUnary[kUnaryCount] = {
    {"relu", Unary::kRelu},
    {"relu6", Unary::kRelu6},
    {"sigmoid", Unary::kSigmoid},
    {"silu", Unary::kSilu},
    {"tanh", Unary::kTanh},
    {"hard_sigmoid", Unary::kHardSigmoid},
    {"hard_swish", Unary::kHardSwish},
    {"gelu", Unary::kGelu},
    {"gelu_tanh", Unary::kGeluTanh},
    {"exp", Unary::kExp},
    {"erf", Unary::kErf},
    {"sqrt", Unary::kSqrt},
    {"negative", Unary::kNegative},
};

using Binary = void (*)(const float* x, const float* z, int64_t count, float* y);
template <class F>
void each(const float* x, const float* z, int64_t count, float* y, F f) {
  for (int64_t i = 0; i < count; ++i) y[i] = f(x[i], z[i]);
}
struct BinaryRow {
  const char* name;
  Binary of;
};
constexpr BinaryRow kBinary[] = {
    {"add", [](const float* x, const float* z, int64_t n,
               float* y) { each(x, z, n, y, [](float a, float b) { return a + b; }); }},
    {"subtract", [](const float* x, const float* z, int64_t n,
                    float* y) { each(x, z, n, y, [](float a, float b) { return a - b; }); }},
    {"multiply", [](const float* x, const float* z, int64_t n,
                    float* y) { each(x, z, n, y, [](float a, float b) { return a * b; }); }},
    {"divide", [](const float* x, const float* z, int64_t n,
                  float* y) { each(x, z, n, y, [](float a, float b) { return a / b; }); }},
};

bool same_layout(const Value& a, const Value& b) {
  const ImageLayout &l = a.layout, &m = b.layout;
  return a.images == b.images && l.channels == m.channels && l.height == m.height && l.width == m.width &&
         l.blocked == m.blocked;
}

class Pointwise final : public Step {
 public:
  explicit Pointwise(const StepText& text) : x_(text.value("x")), y_(text.value("y")) {
    fits(same_layout(x_, y_), "x and y have different layouts");
    const std::string& name = text.word("kind");
    if (text.has("z")) {
      z_ = std::make_unique<Value>(text.value("z"));
      fits(same_layout(x_, *z_), "x and z have different layouts");
      for (const BinaryRow& row : kBinary)
        if (name == row.name) binary_ = row.of;
      fits(binary_ != nullptr, "unknown kind of pointwise operator");
    } else if (name != "copy") {
      unary_ = unary_of(name);
    }
    fits(!text.has("activation") || text.word("activation") == "relu", "a pointwise operator finishes with relu");
    relu_ = text.has("activation");
  }

  void run(const Run& run) const override {
    const ImageLayout& l = y_.layout;
    const KernelTable& table = active_table();
    const int64_t planes = y_.images * l.planes(), row = l.width * l.pixel_floats();
    // One-dimensional values have a plane for each number.
    const int64_t together = l.plane() == 1 ? kTogether : 1;
    parallel_for_ranges(run.threads, (planes + together - 1) / together, [&](int64_t item) {
      const int64_t plane = item * together;
      const int64_t count = together == 1 ? row : std::min(together, planes - plane);
      for (int64_t y = 0; y < l.height; ++y) {
        const float* a = run.floats(x_) + plane * x_.layout.plane() + x_.layout.at(0, y, 0);
        float* to = run.floats(y_) + plane * l.plane() + l.at(0, y, 0);
        if (binary_ != nullptr) {
          binary_(a, run.floats(*z_) + plane * z_->layout.plane() + z_->layout.at(0, y, 0), count, to);
        } else if (unary_) {
          table.activate[static_cast<int>(*unary_)](a, count, to);
        } else {
          std::memcpy(to, a, static_cast<size_t>(count) * 4);
        }
        if (relu_) table.activate[static_cast<int>(Unary::kRelu)](to, count, to);
      }
    });
  }

 private:
  static constexpr int64_t kTogether = 4096;

  const Value x_, y_;
  std::unique_ptr<const Value> z_;
  std::optional<Unary> unary_;
  Binary binary_ = nullptr;
  bool relu_ = false;
};

}  // namespace

Unary unary_of(const std::string& name) {
  for (const UnaryRow& row : kUnary)
    if (name == row.name) return row.kind;
  throw std::invalid_argument("unknown activation " + name);
}

std::unique_ptr<Step> make_pointwise(const StepText& text) { return std::make_unique<Pointwise>(text); }

}  // namespace tersely
