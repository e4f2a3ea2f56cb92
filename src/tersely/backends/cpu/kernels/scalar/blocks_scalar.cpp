// Blocks in plain C++: indices out of their bits, blocks of 16 rows and of one row times x.
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

void expand_indices(const uint8_t* packed, int bits, int64_t count, uint16_t last, uint16_t* out) {
  const uint32_t mask = (1u << bits) - 1;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t word;
    std::memcpy(&word, packed + i * bits / 8, 4);
    const uint32_t index = word >> (i * bits % 8) & mask;
    out[i] = static_cast<uint16_t>(index < last ? index : last);
  }
}

template <DType D, int Width, int Batch>
void product(const uint8_t* words, const uint32_t* ids, const uint32_t* columns, int64_t count, const float* x,
             int64_t x_stride, float* sums) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  for (int64_t k = 0; k < count; ++k)
    for (int c = 0; c < Width; ++c)
      for (int row = 0; row < 16; ++row) {
        const float weight = weight_at<D>(words + ((int64_t{ids[k]} * Width + c) * 16 + row) * kWordBytes);
        for (int b = 0; b < Batch; ++b) sums[b * 16 + row] += weight * x[b * x_stride + columns[k] + c];
      }
}

template <int Width>
void row_product(const float* blocks, const uint16_t* ids, int64_t across, const float* x, float* sums) {
  for (int64_t at = 0; at < across; ++at)
    for (int row = 0; row < 16; ++row)
      for (int c = 0; c < Width; ++c) sums[row] += blocks[ids[at * 16 + row] * Width + c] * x[at * Width + c];
}

template <DType D>
void fill(KernelTable& table) {
  BlockKernels& kernels = table.blocks[static_cast<int>(D)];
  kernels.product[0][0] = product<D, 1, 1>;
  kernels.product[0][1] = product<D, 1, 2>;
  kernels.product[0][2] = product<D, 1, 4>;
  kernels.product[1][0] = product<D, 4, 1>;
  kernels.product[1][1] = product<D, 4, 2>;
  kernels.product[1][2] = product<D, 4, 4>;
}

}  // namespace

void fill_scalar_blocks(KernelTable& table) {
  table.expand_indices = expand_indices;
  table.row_blocks[0] = row_product<4>;
  table.row_blocks[1] = row_product<8>;
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace tersely
