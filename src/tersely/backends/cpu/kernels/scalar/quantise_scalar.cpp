// Rows of x to integers in plain C++.
#include <cmath>
#include <cstring>

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

float largest_float(const float* x, int64_t count) {
  int32_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    int32_t word;
    std::memcpy(&word, x + i, 4);
    word &= 0x7FFFFFFF;
    most = word > most ? word : most;  // as words: NaN is above infinity
  }
  float largest;
  std::memcpy(&largest, &most, 4);
  return largest;
}

template <class Slice>
int64_t quantise(const float* x, int64_t count, const float (&factors)[2], int32_t* integers, Slice* out,
                 int64_t stride) {
  constexpr int kBits = sizeof(Slice) == 1 ? 8 : 12, kSlices = 24 / kBits;
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    auto rest = static_cast<int32_t>(std::nearbyintf(x[i] * factors[0] * factors[1]));
    integers[i] = rest;
    sum += rest;
    for (int s = 0; s + 1 < kSlices; ++s) {
      const int32_t above = (rest + (1 << (kBits - 1))) >> kBits;
      out[s * stride + i] = static_cast<Slice>(rest - (above << kBits));
      rest = above;
    }
    out[(kSlices - 1) * stride + i] = static_cast<Slice>(rest);
  }
  return sum;
}

}  // namespace

void fill_scalar_quantise(KernelTable& table) {
  table.largest_float = largest_float;
  table.slice_bytes = quantise<int8_t>;
  table.slice_words = quantise<int16_t>;
}

}  // namespace tersely
