// Pooling: the greatest or the mean of each window. Padding takes no part in a greatest value, and in a mean where
// `count_padding` says so.
#include <algorithm>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {
namespace {

struct Range {
  int64_t first, last;
};

// Pixels of a window that lie in the image.
Range pixels_of(int64_t place, int64_t stride, int64_t pad, int64_t taps, int64_t size) {
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

  void run(const Run& run) const override {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    const KernelTable& table = active_table();
    parallel_for(run.threads, x_.images * in.blocks() * out.height, [&](int64_t item) {
      const int64_t y = item % out.height, plane = item / out.height;
      const float* from = run.arena + x_.at + plane * in.plane() + in.at(0, 0, 0);
      float* to = run.arena + y_.at + plane * out.plane() + out.at(0, y, 0);
      const Range rows = pixels_of(y, stride_y_, pad_y_, height_, in.height);
      for (int64_t x = 0; x < out.width; ++x) {
        const Range columns = pixels_of(x, stride_x_, pad_x_, width_, in.width);
        const PoolWindow window{from + rows.first * in.row() + columns.first * kChannelBlock, in.row(),
                                rows.last - rows.first, columns.last - columns.first};
        const int64_t counted = count_padding_ ? height_ * width_ : window.rows * window.columns;
        float* pixel = to + x * kChannelBlock;
        greatest_ ? table.pool.greatest(window, pixel)
                  : table.pool.mean(window, 1.0F / static_cast<float>(counted), pixel);
      }
    });
  }

 private:
  const Value x_, y_;
  const bool greatest_, count_padding_;
  const int64_t height_, width_, stride_y_, stride_x_, pad_y_, pad_x_;
};

}  // namespace

std::unique_ptr<Step> make_pool(const StepText& text) { return std::make_unique<Pool>(text); }

}  // namespace tersely
