// Products of two values, by the kernel of convolutions: what stands for the weights lies as a decoded panel does, 16
// outputs side by side, and what stands for the image in blocks of 16 channels.
#pragma once

#include <vector>

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

// y[pixel] = x[pixel] times weights, [columns] numbers of x each.
class BlockedProduct {
 public:
  // x_plane, y_plane: floats from 16 columns of x, or outputs of y, to the next; their pixels lie side by side. Throws
  // std::invalid_argument where these are more than 31 bits of floats address.
  BlockedProduct(int64_t columns, int64_t pixels, int64_t x_plane, int64_t y_plane);

  // weights: [panels][columns][16], panel_stride floats apart.
  void run(const KernelTable& table, const float* weights, int64_t panel_stride, int64_t panels, const float* x,
           float* y, int64_t pixels) const;

 private:
  int64_t columns_, y_plane_;
  std::vector<int32_t> offsets_, places_;
};

}  // namespace tersely
