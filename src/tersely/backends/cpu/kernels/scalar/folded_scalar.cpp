// Folded distances of 8-bit weights in plain C++: the readable form.
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/unfold.hpp"

namespace tersely {
namespace {

constexpr int kChunkBytes = 64;

template <bool Folded>
void multiply(const uint8_t* folded, int64_t chunks, uint8_t centre, const SlicedRows<int16_t>& x, int32_t* sums) {
  uint8_t levels[kChunkBytes];
  for (int64_t j = 0; j < chunks; ++j, folded += kChunkBytes) {
    if constexpr (Folded) unfold_bytes(folded, kChunkBytes, centre, levels);
    if constexpr (!Folded)
      for (int i = 0; i < kChunkBytes; ++i) levels[i] = static_cast<uint8_t>(folded[i] + centre);
    for (int b = 0; b < x.rows; ++b)
      for (int s = 0; s < x.slices; ++s) {
        const int64_t first = !Folded && x.columns != nullptr ? x.columns[j] : j * 4;
        const int16_t* columns = x.x + b * x.row_stride + s * x.stride + first;
        for (int i = 0; i < kChunkBytes; ++i) sums[(b * x.slices + s) * 16 + i % 16] += levels[i] * columns[i / 16];
      }
  }
}

}  // namespace

void fill_scalar_folded(KernelTable& table) {
  table.unfold = kUnfold;
  table.multiply_folded_words = multiply<true>;
  table.multiply_shifted_words = multiply<false>;
}

}  // namespace tersely
