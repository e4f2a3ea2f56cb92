// Convolution of bfloat16, plainly: every pixel, output and pair of columns in turn.
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

float widened(uint16_t word) { return __builtin_bit_cast(float, static_cast<uint32_t>(word) << 16); }
// Subnormal numbers count as zero.
float flushed(float value) {
  const auto bits = __builtin_bit_cast(uint32_t, value);
  return (bits & 0x7f800000U) == 0 ? __builtin_bit_cast(float, bits & 0x80000000U) : value;
}
float operand(uint16_t word) { return flushed(widened(word)); }

uint16_t rounded(float value) {
  const auto bits = __builtin_bit_cast(uint32_t, flushed(value));
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>(bits >> 16 | 0x40U);  // NaN, quiet
  return static_cast<uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

float finished(const PairBlock& b, float sum, int output, const float* residual) {
  if (b.scale != nullptr) sum *= b.scale[output];
  if (b.shift != nullptr) sum += b.shift[output];
  if (residual != nullptr) sum += *residual;
  sum = sum < b.low ? b.low : sum;  // NaN stays
  return sum > b.high ? b.high : sum;
}

void convolve(const PairBlock& b, const PixelPlaces& places, int64_t pixels) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const uint16_t* x = b.x + places.x[pixel];
    for (int panel = 0; panel < b.panels; ++panel) {
      float sums[16] = {};
      const uint16_t* w = b.weights + panel * b.panel_stride;
      for (int64_t run = 0; run < b.runs; ++run)
        for (int64_t pair = 0; pair < b.run; ++pair, w += 32) {
          const float even = operand(x[b.offsets[run] + pair * 2]), odd = operand(x[b.offsets[run] + pair * 2 + 1]);
          for (int k = 0; k < 16; ++k)
            sums[k] = flushed(flushed(sums[k] + operand(w[k * 2 + 1]) * odd) + operand(w[k * 2]) * even);
        }
      const float* residual =
          b.residual == nullptr ? nullptr : b.residual + places.residual[pixel] + panel * b.residual_panel_stride;
      const int64_t to = places.y[pixel] + panel * b.y_panel_stride;
      for (int k = 0; k < 16; ++k) {
        const float value = finished(b, sums[k], panel * 16 + k, residual == nullptr ? nullptr : residual + k);
        if (b.y != nullptr) b.y[to + k] = value;
        if (b.rounded != nullptr) b.rounded[to + k] = rounded(value);
      }
    }
  }
}

void round_floats(const float* x, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = rounded(x[i]);
}

}  // namespace

void fill_scalar_pairs(KernelTable& table) { table.pairs = {convolve, round_floats}; }

}  // namespace tersely
