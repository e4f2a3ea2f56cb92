// See strided.hpp. Copies and arithmetic of operands that lie anyhow, and sums along axes.
#include "tersely/backends/cpu/network/strided.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tersely/backends/cpu/base/parallel.hpp"

namespace tersely {

std::vector<int64_t> sizes_of(const StepText& text, const char* member) {
  std::vector<int64_t> sizes = text.numbers(member);
  int64_t count = 1;
  for (const int64_t size : sizes) {
    fits(size > 0, "a size is not positive");
    fits(!__builtin_mul_overflow(count, size, &count), "sizes are too large");
  }
  return sizes;
}

int64_t product_of(const std::vector<int64_t>& sizes, size_t first, size_t last) {
  int64_t count = 1;
  for (size_t axis = first; axis < last; ++axis) count *= sizes[axis];
  return count;
}

Strided::Strided(const StepText& text, const std::string& name, const std::vector<int64_t>& sizes, bool bytes)
    : at_(text.number_or((name + "_at").c_str(), 0)), strides_(text.numbers((name + "_strides").c_str())) {
  fits(strides_.size() == sizes.size() && at_ >= 0, "an operand has other axes than the step");
  int64_t last = at_;
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    fits(strides_[axis] >= 0, "a stride is negative");
    int64_t reach;
    fits(!__builtin_mul_overflow(strides_[axis], sizes[axis] - 1, &reach) &&
             !__builtin_add_overflow(last, reach, &last) && last < std::numeric_limits<int64_t>::max(),
         "an operand is too large");
  }
  if (bytes || text.has(name.c_str())) {
    value_ = bytes ? text.quantised(name.c_str()) : text.value(name.c_str());
    fits(last < value_.numbers(), "an operand lies outside of its value");
  } else {
    constant_ = text.floats_or_null((name + "_constant").c_str(), last + 1);
    fits(constant_ != nullptr, "an operand is missing");
  }
}

int64_t Strided::offset(int64_t item, const std::vector<int64_t>& sizes, size_t inner) const {
  int64_t offset = 0;
  for (size_t axis = sizes.size() - inner; axis-- > 0;) {
    offset += item % sizes[axis] * strides_[axis];
    item /= sizes[axis];
  }
  return offset;
}

namespace {

struct Row {  // of numbers along the last axis
  const float *x, *z;
  float* y;
  int64_t count, x_stride, z_stride, y_stride;
};

template <class F>
void each(const Row& r, F f) {
  if (r.x_stride == 1 && r.y_stride == 1 && r.z_stride == 1) {
    for (int64_t i = 0; i < r.count; ++i) r.y[i] = f(r.x[i], r.z[i]);
  } else if (r.x_stride == 1 && r.y_stride == 1 && r.z_stride == 0) {
    const float z = *r.z;
    for (int64_t i = 0; i < r.count; ++i) r.y[i] = f(r.x[i], z);
  } else {
    for (int64_t i = 0; i < r.count; ++i) r.y[i * r.y_stride] = f(r.x[i * r.x_stride], r.z[i * r.z_stride]);
  }
}

void copy(const Row& r) {
  if (r.x_stride == 1 && r.y_stride == 1) {
    std::memcpy(r.y, r.x, static_cast<size_t>(r.count) * 4);
  } else {
    for (int64_t i = 0; i < r.count; ++i) r.y[i * r.y_stride] = r.x[i * r.x_stride];
  }
}

using Walk = void (*)(const Row& row);
struct WalkRow {
  const char* name;
  Walk walk;
  bool has_z;
};
constexpr WalkRow kWalks[] = {
    {"copy", copy, false},
    {"add", [](const Row& r) { each(r, [](float x, float z) { return x + z; }); }, true},
    {"subtract", [](const Row& r) { each(r, [](float x, float z) { return x - z; }); }, true},
    {"multiply", [](const Row& r) { each(r, [](float x, float z) { return x * z; }); }, true},
    {"divide", [](const Row& r) { each(r, [](float x, float z) { return x / z; }); }, true},
    {"power", [](const Row& r) { each(r, [](float x, float z) { return z == 2.0F ? x * x : std::pow(x, z); }); }, true},
    {"greater_equal", [](const Row& r) { each(r, [](float x, float z) { return x >= z ? 1.0F : 0.0F; }); }, true},
    {"equal", [](const Row& r) { each(r, [](float x, float z) { return x == z ? 1.0F : 0.0F; }); }, true},
    {"not_equal", [](const Row& r) { each(r, [](float x, float z) { return x != z ? 1.0F : 0.0F; }); }, true},
    {"both", [](const Row& r) { each(r, [](float x, float z) { return x != 0 && z != 0 ? 1.0F : 0.0F; }); }, true},
    {"minimum", [](const Row& r) { each(r, [](float x, float z) { return x < z || x != x ? x : z; }); }, true},
    {"maximum", [](const Row& r) { each(r, [](float x, float z) { return x > z || x != x ? x : z; }); }, true},
    {"masked", [](const Row& r) { each(r, [](float x, float z) { return z != 0 ? x : 0.0F; }); }, true},
};

// y = x, or of x and z, number by number.
class Elementwise final : public Step {
 public:
  explicit Elementwise(const StepText& text)
      : sizes_(sizes_of(text, "sizes")), x_(text, "x", sizes_), y_(text, "y", sizes_) {
    const std::string& kind = text.word("kind");
    for (const WalkRow& row : kWalks)
      if (kind == row.name) {
        walk_ = row.walk;
        if (row.has_z) z_ = std::make_unique<Strided>(text, "z", sizes_);
      }
    fits(walk_ != nullptr, "unknown kind of elementwise operator");
    fits(!sizes_.empty(), "a step without axes");
    fits(!y_.is_constant(), "y is a constant");
    for (const Strided* one : {&x_, static_cast<const Strided*>(z_.get())})
      fits(one == nullptr || one->is_constant() || !overlap(one->value(), y_.value()), "y lies over x or z");
  }

  void run(const Run& run) const override {
    const float *x = x_.read(run), *z = z_ == nullptr ? x : z_->read(run);
    float* y = y_.write(run);
    const size_t last = sizes_.size() - 1, inner = std::min<size_t>(2, sizes_.size());
    const int64_t rows = inner == 2 ? sizes_[last - 1] : 1;
    parallel_for_ranges(run.threads, product_of(sizes_, 0, sizes_.size() - inner), [&](int64_t item) {
      Row row{x + x_.offset(item, sizes_, inner),
              z_ == nullptr ? z : z + z_->offset(item, sizes_, inner),
              y + y_.offset(item, sizes_, inner),
              sizes_[last],
              x_.stride(last),
              z_ == nullptr ? 0 : z_->stride(last),
              y_.stride(last)};
      for (int64_t i = 0; i < rows; ++i) {
        walk_(row);
        if (inner < 2) break;
        row.x += x_.stride(last - 1), row.y += y_.stride(last - 1);
        if (z_ != nullptr) row.z += z_->stride(last - 1);
      }
    });
  }

 private:
  const std::vector<int64_t> sizes_;
  const Strided x_, y_;
  std::unique_ptr<const Strided> z_;
  Walk walk_ = nullptr;
};

// y [sizes] = sums of x along further axes [over], times a factor: "mean" is that of one by their product; or the
// greatest, NaN where one is NaN.
class Reduce final : public Step {
 public:
  explicit Reduce(const StepText& text)
      : sizes_(sizes_of(text, "sizes")),
        all_(joined(sizes_, sizes_of(text, "over"))),
        x_(text, "x", all_),
        y_(text, "y", sizes_) {
    fits(!sizes_.empty() && !y_.is_constant(), "y is a constant, or has no axes");
    fits(x_.is_constant() || !overlap(x_.value(), y_.value()), "y lies over x");
    const std::string& kind = text.word("kind");
    fits(kind == "mean" || kind == "sum" || kind == "max", "unknown kind of reduction");
    mean_ = kind == "mean";
    max_ = kind == "max";
  }

  void run(const Run& run) const override {
    const float* x = x_.read(run);
    float* y = y_.write(run);
    const size_t last = sizes_.size() - 1;
    const auto summed = static_cast<double>(product_of(all_, sizes_.size(), all_.size()));
    const double divisor = mean_ ? summed : 1.0;
    constexpr int64_t kTogether = 64;
    const int64_t parts = (sizes_[last] + kTogether - 1) / kTogether;
    parallel_for_ranges(run.threads, product_of(sizes_, 0, last) * parts, [&](int64_t item) {
      const int64_t first = item % parts * kTogether, count = std::min(kTogether, sizes_[last] - first);
      const int64_t stride = x_.stride(last);
      double sums[kTogether];
      std::fill(sums, sums + kTogether, max_ ? -std::numeric_limits<double>::infinity() : 0.0);
      add(x + x_.offset(item / parts, sizes_, 1) + first * stride, count, stride, sizes_.size(), sums);
      float* to = y + y_.offset(item / parts, sizes_, 1) + first * y_.stride(last);
      for (int64_t i = 0; i < count; ++i) to[i * y_.stride(last)] = static_cast<float>(sums[i] / divisor);
    });
  }

 private:
  static std::vector<int64_t> joined(std::vector<int64_t> a, const std::vector<int64_t>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

  void add(const float* x, int64_t count, int64_t stride, size_t axis, double* sums) const {
    if (axis == all_.size()) {
      if (max_) {
        for (int64_t i = 0; i < count; ++i)
          sums[i] = sums[i] > x[i * stride] || sums[i] != sums[i] ? sums[i] : x[i * stride];
      } else {
        for (int64_t i = 0; i < count; ++i) sums[i] += x[i * stride];
      }
      return;
    }
    for (int64_t i = 0; i < all_[axis]; ++i) add(x + i * x_.stride(axis), count, stride, axis + 1, sums);
  }

  const std::vector<int64_t> sizes_, all_;
  const Strided x_, y_;
  bool mean_, max_;
};

// One number everywhere, padding of blocks as well.
class Fill final : public Step {
 public:
  explicit Fill(const StepText& text) : y_(text.value("y")), number_(text.real("number")) {}
  void run(const Run& run) const override { std::fill(run.floats(y_), run.floats(y_) + y_.floats(), number_); }

 private:
  const Value y_;
  const float number_;
};

}  // namespace

std::unique_ptr<Step> make_elementwise(const StepText& text) { return std::make_unique<Elementwise>(text); }
std::unique_ptr<Step> make_reduce(const StepText& text) { return std::make_unique<Reduce>(text); }
std::unique_ptr<Step> make_fill(const StepText& text) { return std::make_unique<Fill>(text); }

}  // namespace tersely
