// See blocked_product.hpp.
#include "tersely/backends/cpu/network/blocked_product.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "tersely/backends/cpu/network/image.hpp"

namespace tersely {
namespace {

// Columns whose weights, of one panel, take half of the smallest first-level cache; whole runs.
constexpr int64_t kBlockColumns = 256;

}  // namespace

BlockedProduct::BlockedProduct(int64_t columns, int64_t pixels, int64_t x_plane, int64_t y_plane)
    : columns_(columns), y_plane_(y_plane) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  const int64_t runs = (columns + kChannelBlock - 1) / kChannelBlock;
  if (columns < 1 || pixels < 0 || x_plane < 0 || pixels > kMax / kChannelBlock ||
      runs > kMax / std::max<int64_t>(x_plane, 1))
    throw std::invalid_argument("a product has more floats than 31 bits address");
  for (int64_t run = 0; run < runs; ++run) offsets_.push_back(static_cast<int32_t>(run * x_plane));
  for (int64_t pixel = 0; pixel < pixels; ++pixel) places_.push_back(static_cast<int32_t>(pixel * kChannelBlock));
}

void BlockedProduct::run(const KernelTable& table, const float* weights, int64_t panel_stride, int64_t panels,
                         const float* x, float* y, int64_t pixels) const {
  const PixelPlaces places{places_.data(), places_.data(), places_.data()};
  ConvolutionBlock b{};
  b.panel_stride = panel_stride, b.x = x, b.y_panel_stride = y_plane_;
  b.low = -std::numeric_limits<float>::infinity(), b.high = std::numeric_limits<float>::infinity();
  for (int64_t panel = 0; panel < panels; panel += 2) {
    b.panels = static_cast<int>(std::min<int64_t>(2, panels - panel));
    b.y = y + panel * y_plane_;
    for (int64_t column = 0; column < columns_;) {
      const int64_t left = columns_ - column;
      // Whole runs first; what is left of the last one by itself.
      b.run = std::min(left, kChannelBlock);
      b.runs = std::min(left, kBlockColumns) / b.run;
      b.weights = weights + panel * panel_stride + column * kChannelBlock;
      b.offsets = offsets_.data() + column / kChannelBlock;
      b.first = column == 0;
      column += b.runs * b.run;
      b.last = column == columns_;
      table.convolve(b, places, pixels);
    }
  }
}

}  // namespace tersely
