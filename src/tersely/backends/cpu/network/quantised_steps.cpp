// Steps between floats and bytes, and on bytes number by number.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/quantised.hpp"
#include "tersely/backends/cpu/network/strided.hpp"
#include "tersely/backends/cpu/network/windows.hpp"

namespace tersely {
namespace {

float scale_of(const StepText& text, const char* member) {
  const float scale = text.real(member);
  fits(std::isfinite(scale) && scale > 0, "a scale is no finite number above zero");
  return scale;
}

// Whether numbers lie side by side in rows of pixels of 16 channels, as many in both.
bool alike(const Value& a, const Value& b) {
  const ImageLayout &l = a.layout, &m = b.layout;
  return a.images == b.images && l.channels == m.channels && l.height == m.height && l.width == m.width && l.blocked &&
         m.blocked;
}

// f(item): the row of pixels `item` of a value in blocks of channels.
template <class F>
void each_row(const Run& run, const Value& y, F&& f) {
  const ImageLayout& l = y.layout;
  const int64_t planes = y.images * l.blocks();
  parallel_for_ranges(run.threads, planes * l.height, [&](int64_t item) { f(item % planes, item / planes); });
}
int64_t row_at(const ImageLayout& l, int64_t plane, int64_t row) { return plane * l.plane() + l.at(0, row, 0); }
int64_t row_numbers(const ImageLayout& l) { return l.width * kChannelBlock; }

// x of floats, in blocks of channels or, images as a caller lends them, channel by channel.
class Quantise final : public Step {
 public:
  explicit Quantise(const StepText& text)
      : x_(text.value("x")), y_(text.quantised("y")), scale_(scale_of(text, "scale")), zero_(byte_of(text, "zero")) {
    const Value blocked{x_.at, x_.images, {x_.layout.channels, x_.layout.height, x_.layout.width, 0, true}, false};
    fits(alike(blocked, y_), "x and y have different shapes, or y has no blocks of channels");
    fits(!overlap(x_, y_), "y lies over x");
  }
  void run(const Run& run) const override {
    const auto quantise = active_table().quantised.quantise;
    const float* x = run.floats(x_);
    uint8_t* y = run.bytes(y_);
    const ImageLayout &in = x_.layout, &out = y_.layout;
    each_row(run, y_, [&](int64_t plane, int64_t row) {
      uint8_t* to = y + row_at(out, plane, row);
      if (in.blocked) return quantise(x + row_at(in, plane, row), row_numbers(out), scale_, zero_, to);
      constexpr int64_t kSome = 256;
      uint8_t numbers[kSome];
      const int64_t channel = plane % out.blocks() * kChannelBlock, image = plane / out.blocks();
      const int64_t channels = std::min(kChannelBlock, in.channels - channel);
      if (channels < kChannelBlock) std::memset(to, 0, static_cast<size_t>(row_numbers(out)));
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t first = 0; first < out.width; first += kSome) {
          const int64_t count = std::min(kSome, out.width - first);
          quantise(x + image * in.floats() + in.at(channel + c, row, first), count, scale_, zero_, numbers);
          for (int64_t i = 0; i < count; ++i) to[(first + i) * kChannelBlock + c] = numbers[i];
        }
    });
  }

 private:
  const Value x_, y_;
  const float scale_;
  const int32_t zero_;
};

class Dequantise final : public Step {
 public:
  explicit Dequantise(const StepText& text)
      : x_(text.quantised("x")), y_(text.value("y")), scale_(scale_of(text, "scale")), zero_(byte_of(text, "zero")) {
    fits(alike(x_, y_), "x and y have different layouts");
    fits(!overlap(x_, y_), "y lies over x");
  }
  void run(const Run& run) const override {
    const auto dequantise = active_table().quantised.dequantise;
    const uint8_t* x = run.bytes(x_);
    float* y = run.floats(y_);
    const int64_t over = y_.layout.channels % kChannelBlock;
    each_row(run, y_, [&](int64_t plane, int64_t row) {
      float* to = y + row_at(y_.layout, plane, row);
      dequantise(x + row_at(x_.layout, plane, row), row_numbers(y_.layout), scale_, zero_, to);
      if (over == 0 || (plane + 1) % y_.layout.blocks() != 0) return;
      for (int64_t i = 0; i < y_.layout.width; ++i)
        std::fill(to + i * kChannelBlock + over, to + (i + 1) * kChannelBlock, 0.0F);
    });
  }

 private:
  const Value x_, y_;
  const float scale_;
  const int32_t zero_;
};

class QuantisedAdd final : public Step {
 public:
  explicit QuantisedAdd(const StepText& text)
      : x_(text.quantised("x")), z_(text.quantised("z")), y_(text.quantised("y")) {
    fits(alike(x_, y_) && alike(z_, y_), "x, z and y have different layouts");
    fits(!overlap(x_, y_) && !overlap(z_, y_), "y lies over x or z");
    const float one = 1.0F;
    const Requantisation to = requantisation_of(text, &one);
    sum_ = {byte_of(text, "x_zero"),
            byte_of(text, "z_zero"),
            scale_of(text, "x_scale"),
            scale_of(text, "z_scale"),
            scale_of(text, "y_scale"),
            to.low,
            to.high,
            to.zero};
    fits(std::isfinite(255.0F * sum_.x_scale + 255.0F * sum_.z_scale) && std::isnormal(1.0F / sum_.y_scale),
         "scales whose sums are no floats");
  }
  void run(const Run& run) const override {
    const auto add = active_table().quantised.add;
    const uint8_t *x = run.bytes(x_), *z = run.bytes(z_);
    uint8_t* y = run.bytes(y_);
    each_row(run, y_, [&](int64_t plane, int64_t row) {
      add(x + row_at(x_.layout, plane, row), z + row_at(z_.layout, plane, row), row_numbers(y_.layout), sum_,
          y + row_at(y_.layout, plane, row));
    });
  }

 private:
  const Value x_, z_, y_;
  QuantisedSum sum_{};
};

// "table": what each of 256 bytes becomes.
class LookUp final : public Step {
 public:
  explicit LookUp(const StepText& text) : x_(text.quantised("x")), y_(text.quantised("y")) {
    fits(alike(x_, y_), "x and y have different layouts");
    fits(!overlap(x_, y_), "y lies over x");
    const Constant table = text.constant("table");
    fits(table.bytes != nullptr && table.count >= 256, "a table has 256 bytes");
    std::copy(table.bytes, table.bytes + 256, table_);
  }
  void run(const Run& run) const override {
    const auto look_up = active_table().quantised.look_up;
    const uint8_t* x = run.bytes(x_);
    uint8_t* y = run.bytes(y_);
    each_row(run, y_, [&](int64_t plane, int64_t row) {
      look_up(x + row_at(x_.layout, plane, row), row_numbers(y_.layout), table_, y + row_at(y_.layout, plane, row));
    });
  }

 private:
  const Value x_, y_;
  uint8_t table_[256];
};

// "kind": "max", or "mean": sums of (number - x_zero) x scale / the window's pixels.
class QuantisedPool final : public Step {
 public:
  explicit QuantisedPool(const StepText& text)
      : x_(text.quantised("x")),
        y_(text.quantised("y")),
        greatest_(text.word("kind") == "max"),
        windows_(windows_of(text, x_, y_)) {
    fits(greatest_ || text.word("kind") == "mean", "unknown kind of pooling");
    fits(x_.layout.blocked, "pooling takes blocks of channels");
    fits(!overlap(x_, y_), "y lies over x");
    if (greatest_) return;
    scale_ = text.real("scale");
    fits(std::isfinite(scale_), "a scale is no finite number");
    x_zero_ = byte_of(text, "x_zero");
    to_ = requantisation_of(text, nullptr);
    for (const Span& rows : windows_.rows)
      for (const Span& columns : windows_.columns)
        fits(rows.pixels * columns.pixels < (int64_t{1} << 23), "a window of too many pixels");
  }

  void run(const Run& run) const override {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    const QuantisedKernels& kernels = active_table().quantised;
    each_row(run, y_, [&](int64_t plane, int64_t y) {
      const Span& rows = windows_.rows[static_cast<size_t>(y)];
      const uint8_t* from = run.bytes(x_) + plane * in.plane() + in.at(0, rows.first, 0);
      uint8_t* pixel = run.bytes(y_) + row_at(out, plane, y);
      for (const Span& columns : windows_.columns) {
        const QuantisedWindow window{from + columns.first * kChannelBlock, in.row() * windows_.dilation_y,
                                     kChannelBlock * windows_.dilation_x, rows.pixels, columns.pixels};
        if (greatest_) {
          kernels.greatest(window, pixel);
        } else {
          const float factor = scale_ / static_cast<float>(rows.counted * columns.counted);
          Requantisation to = to_;
          to.scale = &factor;
          kernels.mean(window, static_cast<int32_t>(-x_zero_ * rows.pixels * columns.pixels), to, pixel);
        }
        pixel += kChannelBlock;
      }
    });
  }

 private:
  const Value x_, y_;
  const bool greatest_;
  const PoolWindows windows_;
  float scale_ = 0;
  int64_t x_zero_ = 0;
  Requantisation to_{};
};

// y = x, lying otherwise: as "elementwise".
class CopyBytes final : public Step {
 public:
  explicit CopyBytes(const StepText& text)
      : sizes_(sizes_of(text, "sizes")), x_(text, "x", sizes_, true), y_(text, "y", sizes_, true) {
    fits(!sizes_.empty(), "a step without axes");
    fits(!overlap(x_.value(), y_.value()), "y lies over x");
  }
  void run(const Run& run) const override {
    const uint8_t* x = run.bytes(x_.value()) + x_.first();
    uint8_t* y = run.bytes(y_.value()) + y_.first();
    const size_t last = sizes_.size() - 1;
    const int64_t count = sizes_[last], x_step = x_.stride(last), y_step = y_.stride(last);
    parallel_for(run.threads, product_of(sizes_, 0, last), [&](int64_t item) {
      const uint8_t* from = x + x_.offset(item, sizes_, 1);
      uint8_t* to = y + y_.offset(item, sizes_, 1);
      if (x_step == 1 && y_step == 1) {
        std::memcpy(to, from, static_cast<size_t>(count));
      } else {
        for (int64_t i = 0; i < count; ++i) to[i * y_step] = from[i * x_step];
      }
    });
  }

 private:
  const std::vector<int64_t> sizes_;
  const Strided x_, y_;
};

}  // namespace

std::unique_ptr<Step> make_quantise(const StepText& text) { return std::make_unique<Quantise>(text); }
std::unique_ptr<Step> make_dequantise(const StepText& text) { return std::make_unique<Dequantise>(text); }
std::unique_ptr<Step> make_quantised_add(const StepText& text) { return std::make_unique<QuantisedAdd>(text); }
std::unique_ptr<Step> make_quantised_pool(const StepText& text) { return std::make_unique<QuantisedPool>(text); }
std::unique_ptr<Step> make_look_up(const StepText& text) { return std::make_unique<LookUp>(text); }
std::unique_ptr<Step> make_copy_bytes(const StepText& text) { return std::make_unique<CopyBytes>(text); }

}  // namespace tersely
