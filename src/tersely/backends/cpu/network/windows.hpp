// Windows as steps write them: those of convolutions, and of pools, along each axis the pixels that lie in them.
#pragma once

#include <vector>

#include "tersely/backends/cpu/network/convolution.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {

// Of members "height", "width", "stride_y", "dilation_y", "pad_y" and the like. Throws std::invalid_argument.
inline Window window_of(const StepText& text) {
  constexpr int64_t kLargest = 1 << 20;
  const Window window{text.number("height"),           text.number("width"),
                      text.number_or("stride_y", 1),   text.number_or("stride_x", 1),
                      text.number_or("dilation_y", 1), text.number_or("dilation_x", 1),
                      text.number_or("pad_y", 0),      text.number_or("pad_x", 0)};
  for (const int64_t one :
       {window.height, window.width, window.stride_y, window.stride_x, window.dilation_y, window.dilation_x})
    fits(one > 0 && one <= kLargest, "a window or a distance of less than one pixel");
  fits(window.pad_y >= 0 && window.pad_x >= 0 && window.pad_y <= kLargest && window.pad_x <= kLargest,
       "padding of less than no pixel");
  return window;
}

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
