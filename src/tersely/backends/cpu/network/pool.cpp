// Pooling: the greatest or the mean of each window. Padding takes no part in a greatest value, and in a mean where
// `count_padding` says so.
#include <algorithm>
#include <limits>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {
namespace {

struct Range {
  int64_t first, last;
};

// Pixels of a window that lie in the image.
Range window(int64_t place, int64_t stride, int64_t pad, int64_t taps, int64_t size) {
  const int64_t begin = place * stride - pad;
  return {std::max<int64_t>(begin, 0), std::min(begin + taps, size)};
}

class Pool final : public Step {
 public:
  explicit Pool(const StepText& text)
      : x_(text.value("x")),
        y_(text.value("y")),
        greatest_(text.word("kind") == "max"),
        count_padding_(text.number_or("count_padding", 0) != 0),
        height_(text.number("height")),
        width_(text.number("width")),
        stride_y_(text.number("stride_y")),
        stride_x_(text.number("stride_x")),
        pad_y_(text.number_or("pad_y", 0)),
        pad_x_(text.number_or("pad_x", 0)) {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    fits(x_.images == y_.images && in.channels == out.channels && in.blocked && out.blocked,
         "pooling takes blocks of channels, as many images and channels out as in");
    fits(stride_y_ > 0 && stride_x_ > 0 && pad_y_ >= 0 && pad_x_ >= 0 && pad_y_ < height_ && pad_x_ < width_ &&
             (out.height - 1) * stride_y_ - pad_y_ < in.height && (out.width - 1) * stride_x_ - pad_x_ < in.width,
         "a window without a pixel");
    fits(!overlap(x_, y_), "y lies over x");
  }

  void run(float* arena, const Lent&, int threads) const override {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    parallel_for(threads, x_.images * in.blocks() * out.height, [&](int64_t item) {
      const int64_t y = item % out.height, plane = item / out.height;
      const float* from = arena + x_.at + plane * in.plane() + in.at(0, 0, 0);
      float* to = arena + y_.at + plane * out.plane() + out.at(0, y, 0);
      const Range rows = window(y, stride_y_, pad_y_, height_, in.height);
      for (int64_t x = 0; x < out.width; ++x) {
        const Range columns = window(x, stride_x_, pad_x_, width_, in.width);
        greatest_ ? greatest(from, rows, columns, to + x * kChannelBlock)
                  : mean(from, rows, columns, to + x * kChannelBlock);
      }
    });
  }

 private:
  void greatest(const float* from, Range rows, Range columns, float* to) const {
    float most[kChannelBlock];
    std::fill(most, most + kChannelBlock, -std::numeric_limits<float>::infinity());
    for (int64_t y = rows.first; y < rows.last; ++y)
      for (int64_t x = columns.first; x < columns.last; ++x) {
        const float* at = from + y * x_.layout.row() + x * kChannelBlock;
        for (int64_t c = 0; c < kChannelBlock; ++c) most[c] = most[c] >= at[c] || most[c] != most[c] ? most[c] : at[c];
      }
    std::copy(most, most + kChannelBlock, to);
  }

  void mean(const float* from, Range rows, Range columns, float* to) const {
    float sums[kChannelBlock] = {};
    for (int64_t y = rows.first; y < rows.last; ++y)
      for (int64_t x = columns.first; x < columns.last; ++x) {
        const float* at = from + y * x_.layout.row() + x * kChannelBlock;
        for (int64_t c = 0; c < kChannelBlock; ++c) sums[c] += at[c];
      }
    const int64_t count =
        count_padding_ ? height_ * width_ : (rows.last - rows.first) * (columns.last - columns.first);
    for (int64_t c = 0; c < kChannelBlock; ++c) to[c] = sums[c] / static_cast<float>(count);
  }

  const Value x_, y_;
  const bool greatest_, count_padding_;
  const int64_t height_, width_, stride_y_, stride_x_, pad_y_, pad_x_;
};

}  // namespace

std::unique_ptr<Step> make_pool(const StepText& text) { return std::make_unique<Pool>(text); }

}  // namespace tersely
