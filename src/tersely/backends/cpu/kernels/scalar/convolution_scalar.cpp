// Convolution, plainly: every pixel, output and column in turn.
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

float finished(const ConvolutionBlock& b, float sum, int output, const float* residual) {
  if (b.scale != nullptr) sum *= b.scale[output];
  if (b.shift != nullptr) sum += b.shift[output];
  if (residual != nullptr) sum += *residual;
  sum = sum < b.low ? b.low : sum;  // NaN stays
  return sum > b.high ? b.high : sum;
}

void convolve(const ConvolutionBlock& b, const PixelPlaces& places, int64_t pixels) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const float* x = b.x + places.x[pixel];
    for (int panel = 0; panel < b.panels; ++panel) {
      float* y = b.y + places.y[pixel] + panel * b.y_panel_stride;
      float sums[16];
      for (int k = 0; k < 16; ++k) sums[k] = b.first ? 0.0F : y[k];
      const float* w = b.weights + panel * b.panel_stride;
      for (int64_t run = 0; run < b.runs; ++run)
        for (int64_t column = 0; column < b.run; ++column, w += 16)
          for (int k = 0; k < 16; ++k) sums[k] += w[k] * x[b.offsets[run] + column];
      const float* residual =
          b.residual == nullptr ? nullptr : b.residual + places.residual[pixel] + panel * b.residual_panel_stride;
      for (int k = 0; k < 16; ++k)
        y[k] = b.last ? finished(b, sums[k], panel * 16 + k, residual == nullptr ? nullptr : residual + k) : sums[k];
    }
  }
}

}  // namespace

void fill_scalar_convolution(KernelTable& table) { table.convolve = convolve; }

}  // namespace tersely
