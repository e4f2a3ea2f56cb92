// Pooling: the greatest or the mean of each window, of the pixels of the image that lie in it.
#include <algorithm>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
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

struct Greatest {
  // NaN where there is one: neither comparison holds for it.
  static float take(float a, float b) { return a >= b || a != a ? a : b; }
  static float finish(float found, int64_t) { return found; }
};
struct Sum {
  static float take(float a, float b) { return a + b; }
  static float finish(float found, int64_t counted) { return found * (1.0F / static_cast<float>(counted)); }
};

template <class Kind>
void take_row(const float* __restrict next, int64_t width, float* __restrict row) {
  for (int64_t x = 0; x < width; ++x) row[x] = Kind::take(row[x], next[x]);
}

// Pairs of pixels.
template <class Kind>
void halve_row(const float* __restrict row, int64_t width, int64_t counted, float* __restrict y) {
  for (int64_t x = 0; x < width; ++x) y[x] = Kind::finish(Kind::take(row[2 * x], row[2 * x + 1]), counted);
}

// A row of results in a plane of a channel: the rows of their windows become one, whose pixels are then taken together.
template <class Kind>
void pool_row(const float* from, int64_t step, int64_t width, const Span& rows, const std::vector<Span>& columns,
              int64_t dilation, float* row, float* y) {
  std::copy_n(from, width, row);
  for (int64_t i = 1; i < rows.pixels; ++i) take_row<Kind>(from + i * step, width, row);
  const Span* span = columns.data();
  if (std::all_of(columns.begin(), columns.end(), [&](const Span& one) {
        return one.pixels == 2 && one.counted == 2 && one.first == 2 * (&one - columns.data()) && dilation == 1;
      })) {
    halve_row<Kind>(row, static_cast<int64_t>(columns.size()), rows.counted * 2, y);
    return;
  }
  for (size_t x = 0; x < columns.size(); ++x, ++span) {
    const float* at = row + span->first;
    float found = *at;
    for (int64_t i = 1; i < span->pixels; ++i) found = Kind::take(found, at[i * dilation]);
    y[x] = Kind::finish(found, rows.counted * span->counted);
  }
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
    if (!in.blocked) return run_planes(run);
    const KernelTable& table = active_table();
    const int64_t planes = x_.images * in.blocks();
    parallel_for_ranges(run.threads, planes * out.height, [&](int64_t item) {
      const int64_t y = item / planes, plane = item % planes;
      const Span& rows = windows_.rows[static_cast<size_t>(y)];
      const float* from = run.floats(x_) + plane * in.plane() + in.at(0, rows.first, 0);
      float* pixel = run.floats(y_) + plane * out.plane() + out.at(0, y, 0);
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
  void run_planes(const Run& run) const {
    const ImageLayout &in = x_.layout, &out = y_.layout;
    parallel_for(run.threads, x_.images * in.channels, [&](int64_t plane) {
      static thread_local Scratch scratch;
      auto* row = scratch.get<float>(in.width * 4);
      for (int64_t y = 0; y < out.height; ++y) {
        const Span& rows = windows_.rows[static_cast<size_t>(y)];
        const float* from = run.floats(x_) + plane * in.plane() + in.at(0, rows.first, 0);
        float* to = run.floats(y_) + plane * out.plane() + out.at(0, y, 0);
        const int64_t step = windows_.dilation_y * in.row(), apart = windows_.dilation_x;
        greatest_ ? pool_row<Greatest>(from, step, in.width, rows, windows_.columns, apart, row, to)
                  : pool_row<Sum>(from, step, in.width, rows, windows_.columns, apart, row, to);
      }
    });
  }

  const Value x_, y_;
  const bool greatest_;
  const PoolWindows windows_;
};

}  // namespace

PoolWindows windows_of(const StepText& text, const Value& x, const Value& y) {
  constexpr int64_t kLargest = 1 << 20;
  const ImageLayout &in = x.layout, &out = y.layout;
  fits(x.images == y.images && in.channels == out.channels && in.blocked == out.blocked,
       "pooling takes blocks or planes of channels, as many images and channels out as in");
  const int64_t dilation_y = text.number_or("dilation_y", 1), dilation_x = text.number_or("dilation_x", 1);
  fits(dilation_y > 0 && dilation_x > 0 && dilation_y <= kLargest && dilation_x <= kLargest,
       "a distance of less than one pixel, or of too many");
  return {spans_of(text, "rows", out.height, in.height, dilation_y),
          spans_of(text, "columns", out.width, in.width, dilation_x), dilation_y, dilation_x};
}

std::unique_ptr<Step> make_pool(const StepText& text) { return std::make_unique<Pool>(text); }

}  // namespace tersely
