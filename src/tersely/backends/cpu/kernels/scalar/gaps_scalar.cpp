// Gap-coded rows in plain C++: one entry of one lane at a time.
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

template <DType D>
uint32_t word_of(float weight) {
  if constexpr (D == DType::kFloat32) return std::bit_cast<uint32_t>(weight);
  if constexpr (D == DType::kBfloat16) return float_to_bfloat16(weight);
  return float_to_float16(weight);
}

// A number's word.
template <DType D>
uint32_t scaled(uint8_t number, float scale) {
  return word_of<D>(static_cast<float>(static_cast<int8_t>(number)) * scale);
}

// Adds the entries of all lanes: sums[b * b_stride + lane * lane_stride] += weight * x[b][column].
template <DType D, bool Numbers, int Batch>
void add_entries(const GapEntries& e, const float* x, int64_t b_step, int64_t column_step, float* sums, int b_stride,
                 int lane_stride) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  for (int lane = 0; lane < 16; ++lane) {
    float own[Batch] = {};
    int64_t column = 0;
    for (int64_t step = 0; step < e.blocks * 4; ++step) {
      column += e.gaps[step * 16 + lane];
      if (column > e.last_column) column = e.last_column;
      const int64_t entry = step * 16 + lane;
      float weight;
      if constexpr (Numbers) {
        const uint32_t word = scaled<D>(e.values[entry], e.scales[lane]);
        weight = weight_at<D>(reinterpret_cast<const uint8_t*>(&word));
      } else {
        weight = weight_at<D>(e.values + entry * kWordBytes);
      }
      if (std::bit_cast<uint32_t>(weight) == 0) continue;
      for (int b = 0; b < Batch; ++b) own[b] += weight * x[b * b_step + column * column_step];
    }
    for (int b = 0; b < Batch; ++b) sums[b * b_stride + lane * lane_stride] = own[b];
  }
}

template <DType D, bool Numbers, int Batch>
void product(const GapEntries& e, const float* x, int64_t x_stride, float* sums) {
  add_entries<D, Numbers, Batch>(e, x, x_stride, 1, sums, 16, 1);
}

template <DType D, bool Numbers>
void product_packed(const GapEntries& e, const float* x, float* sums) {
  add_entries<D, Numbers, 16>(e, x, 1, 16, sums, 1, 16);
}

void multiply_gaps(const GapEntries& e, bool is_signed, const uint32_t* x, int64_t x_stride, int batch,
                   int64_t* totals) {
  std::memset(totals, 0, static_cast<size_t>(batch) * 2 * 16 * sizeof *totals);
  const int64_t row_step = batch == 8 ? 1 : x_stride, column_step = batch == 8 ? 8 : 1;
  for (int lane = 0; lane < 16; ++lane) {
    int64_t column = 0;
    for (int64_t step = 0; step < e.blocks * 4; ++step) {
      column += e.gaps[step * 16 + lane];
      if (column > e.last_column) column = e.last_column;
      const uint8_t word = e.values[step * 16 + lane];
      const int weight = is_signed ? static_cast<int8_t>(word) : word;
      for (int b = 0; b < batch; ++b) {
        const uint32_t pair = x[b * row_step + column * column_step];
        totals[b * 32 + lane] += weight * static_cast<int16_t>(pair);
        totals[b * 32 + 16 + lane] += weight * static_cast<int16_t>(pair >> 16);
      }
    }
  }
}

template <DType D>
void scale_gaps(const GapEntries& e, int shift, void* words) {
  for (int lane = 0; lane < 16; ++lane) {
    int64_t column = 0;
    for (int64_t at = lane; at < e.blocks * 64; at += 16) {
      column += e.gaps[at];
      if (column > e.last_column) column = e.last_column;
      const uint32_t word = scaled<D>(e.values[at], e.scales[(column >> shift) * 16 + lane]);
      constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
      std::memcpy(static_cast<uint8_t*>(words) + at * kWordBytes, &word, kWordBytes);
    }
  }
}

template <DType D, bool Numbers>
void fill(GapKernels& kernels) {
  kernels.product[0] = product<D, Numbers, 1>;
  kernels.product[1] = product<D, Numbers, 2>;
  kernels.product[2] = product<D, Numbers, 4>;
  if constexpr (!Numbers || D == DType::kFloat32) kernels.product_packed = product_packed<D, Numbers>;
}
template <DType D>
void fill_all(KernelTable& table) {
  fill<D, false>(table.gaps[static_cast<int>(D)]);
  fill<D, true>(table.gap_numbers[static_cast<int>(D)]);
  table.scale_gaps[static_cast<int>(D)] = scale_gaps<D>;
}

}  // namespace

void fill_scalar_gaps(KernelTable& table) {
  fill_all<DType::kFloat32>(table);
  fill_all<DType::kBfloat16>(table);
  fill_all<DType::kFloat16>(table);
  table.multiply_gaps = multiply_gaps;
}

}  // namespace tersely
