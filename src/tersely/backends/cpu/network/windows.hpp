// The windows of a pool: along each axis, those pixels of the image that lie in them.
#pragma once

#include <vector>

#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {

// Pixels of a window along an axis, and by how many its sum is divided: padding may count.
struct Span {
  int64_t first, pixels, counted;
};

struct PoolWindows {
  std::vector<Span> rows, columns;
  int64_t dilation_y, dilation_x;
};

// Of members "rows", "columns", "dilation_y" and "dilation_x". Throws std::invalid_argument for windows without a
// pixel or beyond x, and where x and y have other images, channels or layouts.
PoolWindows windows_of(const StepText& text, const Value& x, const Value& y);

}  // namespace tersely
