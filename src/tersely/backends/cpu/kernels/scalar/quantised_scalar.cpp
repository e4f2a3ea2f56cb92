// Quantised values in plain C++.
#include <cstring>

#include "tersely/backends/cpu/kernels/quantised_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

struct Scalar {
  typedef Integers16 Sums;
  static inline __attribute__((always_inline)) Sums load(const int32_t* at) { return loaded<Integers16>(at); }
  // Unsigned: a sum on its way may leave 32 bits and come back.
  static inline __attribute__((always_inline)) void add(Sums& sums, const uint8_t* x, const Sums& weight) {
    typedef uint32_t Unsigned16 __attribute__((vector_size(64)));
    const Integers16 products = widened(x) * weight;
    sums = reinterpret_cast<Integers16>(reinterpret_cast<Unsigned16>(sums) + reinterpret_cast<Unsigned16>(products));
  }
  static inline __attribute__((always_inline)) void requantise(const Sums& sums, const Requantisation& to, uint8_t* y) {
    tersely::requantise(sums, loaded<Floats16>(to.scale), to, y);
  }
  static inline __attribute__((always_inline)) void add_sixteen(const uint8_t* x, const uint8_t* z,
                                                                const QuantisedSum& s, float, uint8_t* y) {
    const Floats16 total = __builtin_convertvector(widened(x) - s.x_zero, Floats16) * s.x_scale +
                           __builtin_convertvector(widened(z) - s.z_zero, Floats16) * s.z_scale;
    store_bytes(rounded(clamped(total / s.y_scale, s.low, s.high)) + s.zero, y);
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
