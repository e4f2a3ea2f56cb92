// Quantised values in plain C++.
#include <cstring>

#include "tersely/backends/cpu/kernels/quantised_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

struct Scalar {
  // Unsigned: a sum on its way may leave 32 bits and come back.
  static inline __attribute__((always_inline)) Integers16 add(Integers16 sums, Integers16 x, Integers16 weight) {
    typedef uint32_t Unsigned16 __attribute__((vector_size(64)));
    return reinterpret_cast<Integers16>(reinterpret_cast<Unsigned16>(sums) + reinterpret_cast<Unsigned16>(x * weight));
  }
};

void convolve(const QuantisedBlock& b, const PixelPlaces& places, int64_t pixels) {
  for (int panel = 0; panel < b.panels; ++panel)
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      uint32_t sums[16];
      std::memcpy(sums, b.start + panel * 16, sizeof sums);
      const int8_t* w = b.weights + panel * b.panel_stride;
      for (int64_t run = 0; run < b.runs; ++run) {
        const uint8_t* x = b.x + places.x[pixel] + b.offsets[run];
        for (int64_t group = 0; group < b.run; ++group, x += 4, w += 64)
          for (int row = 0; row < 16; ++row)
            for (int k = 0; k < 4; ++k) sums[row] += static_cast<uint32_t>(int32_t{x[k]} * w[row * 4 + k]);
      }
      const auto scale = loaded<Floats16>(b.to.scale + panel * 16);
      const auto totals = loaded<Integers16>(sums);
      const int64_t at = panel * b.y_panel_stride + places.y[pixel];
      if (b.y != nullptr) {
        requantise(totals, scale, b.to, b.y + at);
        continue;
      }
      const Floats16 value = clamped(__builtin_convertvector(totals, Floats16) * scale, b.to.low, b.to.high);
      std::memcpy(b.floats + at, &value, sizeof value);
    }
}

}  // namespace

void fill_scalar_quantised(KernelTable& table) { table.quantised = quantised_kernels<Scalar>(convolve); }

}  // namespace tersely
