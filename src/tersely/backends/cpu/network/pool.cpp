// Pooling: the greatest or the mean of each window, of the pixels of the image that lie in it.
#include <algorithm>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/windows.hpp"

namespace tersely {
namespace {

std::vector<Span> spans_of(const StepText& text, const char* member, int64_t length, int64_t from, int64_t dilation) {
  const std::vector<int64_t> numbers = text.numbers(member);
  fits(static_cast<int64_t>(numbers.size()) == length * 3, "an axis has other windows than y has pixels");
  std::vector<Span> found;
  for (size_t i = 0; i < numbers.size(); i += 3) {
    const Span span{numbers[i], numbers[i + 1], numbers[i + 2]};
    fits(span.first >= 0 && span.first < from && span.pixels > 0 &&
             span.pixels - 1 <= (from - 1 - span.first) / dilation,
         "a window without a pixel, or beyond x");
    fits(span.counted > 0 && span.counted < (int64_t{1} << 24), "a mean of no pixel");
    found.push_back(span);
  }
  return found;
}

class Pool final : public Step {
 public:
  explicit Pool(const StepText& text)
      : x_(text.value("x")),
        y_(text.value("y")),
        greatest_(text.word("kind") == "max"),
        windows_(windows_of(text, x_, y_)) {
    fits(greatest_ || text.word("kind") == "mean", "unknown kind of pooling");
    fits(!overlap(x_, y_), "y lies over x");
  }

  void run(const Run& run) const override {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    const KernelTable& table = active_table();
    const int64_t planes = x_.images * in.blocks();
    parallel_for_ranges(run.threads, planes * out.height, [&](int64_t item) {
      const int64_t y = item / planes, plane = item % planes;
      const Span& rows = windows_.rows[static_cast<size_t>(y)];
      const float* from = run.arena + x_.at + plane * in.plane() + in.at(0, rows.first, 0);
      float* pixel = run.arena + y_.at + plane * out.plane() + out.at(0, y, 0);
      for (const Span& columns : windows_.columns) {
        const PoolWindow window{from + columns.first * kChannelBlock, in.row() * windows_.dilation_y,
                                kChannelBlock * windows_.dilation_x, rows.pixels, columns.pixels};
        greatest_ ? table.pool.greatest(window, pixel)
                  : table.pool.mean(window, 1.0F / static_cast<float>(rows.counted * columns.counted), pixel);
        pixel += kChannelBlock;
      }
    });
  }

 private:
  const Value x_, y_;
  const bool greatest_;
  const PoolWindows windows_;
};

}  // namespace

PoolWindows windows_of(const StepText& text, const Value& x, const Value& y) {
  constexpr int64_t kLargest = 1 << 20;
  const ImageLayout &in = x.layout, &out = y.layout;
  fits(x.images == y.images && in.channels == out.channels && in.blocked && out.blocked,
       "pooling takes blocks of channels, as many images and channels out as in");
  const int64_t dilation_y = text.number_or("dilation_y", 1), dilation_x = text.number_or("dilation_x", 1);
  fits(dilation_y > 0 && dilation_x > 0 && dilation_y <= kLargest && dilation_x <= kLargest,
       "a distance of less than one pixel, or of too many");
  return {spans_of(text, "rows", out.height, in.height, dilation_y),
          spans_of(text, "columns", out.width, in.width, dilation_x), dilation_y, dilation_x};
}

std::unique_ptr<Step> make_pool(const StepText& text) { return std::make_unique<Pool>(text); }

}  // namespace tersely
