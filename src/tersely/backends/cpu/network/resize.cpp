// Upsampling: every pixel is a mean of four, weighted by rows and columns.
#include <bit>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {
namespace {

struct Between {
  int64_t first, second;
  float weight;  // of the second
};

// For each pixel of an axis two of x's and the bits of the second one's weight, a float32.
std::vector<Between> axis_of(const StepText& text, const char* member, int64_t length, int64_t from) {
  const std::vector<int64_t> numbers = text.numbers(member);
  fits(static_cast<int64_t>(numbers.size()) == length * 3, "an axis has other pixels than y");
  std::vector<Between> found;
  for (size_t i = 0; i < numbers.size(); i += 3) {
    fits(numbers[i] >= 0 && numbers[i] < from && numbers[i + 1] >= 0 && numbers[i + 1] < from, "a pixel beyond x");
    found.push_back({numbers[i], numbers[i + 1], std::bit_cast<float>(static_cast<uint32_t>(numbers[i + 2]))});
  }
  return found;
}

class Resize final : public Step {
 public:
  explicit Resize(const StepText& text) : x_(text.value("x")), y_(text.value("y")) {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    fits(x_.images == y_.images && in.channels == out.channels && in.blocked && out.blocked,
         "resizing takes blocks of channels, as many images and channels out as in");
    fits(!overlap(x_, y_), "y lies over x");
    rows_ = axis_of(text, "rows", out.height, in.height), columns_ = axis_of(text, "columns", out.width, in.width);
  }

  void run(const Run& run) const override {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    parallel_for_ranges(run.threads, x_.images * in.blocks() * out.height, [&](int64_t item) {
      const int64_t y = item % out.height, plane = item / out.height;
      const Between& row = rows_[static_cast<size_t>(y)];
      const float* from = run.floats(x_) + plane * in.plane();
      const float *above = from + in.at(0, row.first, 0), *below = from + in.at(0, row.second, 0);
      float* to = run.floats(y_) + plane * out.plane() + out.at(0, y, 0);
      for (const Between& column : columns_) {
        const int64_t left = column.first * kChannelBlock, right = column.second * kChannelBlock;
        for (int64_t c = 0; c < kChannelBlock; ++c) {
          const float high = mean(above[left + c], above[right + c], column.weight);
          const float low = mean(below[left + c], below[right + c], column.weight);
          *to++ = mean(high, low, row.weight);
        }
      }
    });
  }

 private:
  // A pixel without weight takes no part, whatever it is.
  static float mean(float a, float b, float weight) { return weight == 0 ? a : (1.0F - weight) * a + weight * b; }

  const Value x_, y_;
  std::vector<Between> rows_, columns_;
};

}  // namespace

std::unique_ptr<Step> make_resize(const StepText& text) { return std::make_unique<Resize>(text); }

}  // namespace tersely
