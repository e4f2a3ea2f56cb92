// Gap-coded rows in plain C++: one entry of one lane at a time.
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// A word, or a number.
template <DType D>
float entry_at(const uint8_t* at) {
  if constexpr (D == DType::kIndex)
    return static_cast<float>(static_cast<int8_t>(*at));
  else
    return weight_at<D>(at);
}

// Adds the entries of all lanes: sums[b * b_stride + lane * lane_stride] += weight * x[b][column].
template <DType D, int Batch>
void add_entries(const GapEntries& e, const float* x, int64_t b_step, int64_t column_step, float* sums, int b_stride,
                 int lane_stride) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  for (int lane = 0; lane < 16; ++lane) {
    float own[Batch] = {};
    int64_t column = 0;
    for (int64_t step = 0; step < e.blocks * 4; ++step) {
      column += e.gaps[step * 16 + lane];
      if (column > e.last_column) column = e.last_column;
      const float weight = entry_at<D>(e.values + (step * 16 + lane) * kWordBytes);
      if (std::bit_cast<uint32_t>(weight) == 0) continue;
      for (int b = 0; b < Batch; ++b) own[b] += weight * x[b * b_step + column * column_step];
    }
    for (int b = 0; b < Batch; ++b) sums[b * b_stride + lane * lane_stride] = own[b];
  }
}

template <DType D, int Batch>
void product(const GapEntries& e, const float* x, int64_t x_stride, float* sums) {
  add_entries<D, Batch>(e, x, x_stride, 1, sums, 16, 1);
}

template <DType D>
void product_packed(const GapEntries& e, const float* x, float* sums) {
  add_entries<D, 16>(e, x, 1, 16, sums, 1, 16);
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
void scale_gaps(const GapEntries& e, const float* scales, int shift, void* words) {
  for (int lane = 0; lane < 16; ++lane) {
    int64_t column = 0;
    for (int64_t at = lane; at < e.blocks * 64; at += 16) {
      column += e.gaps[at];
      if (column > e.last_column) column = e.last_column;
      const float weight =
          static_cast<float>(static_cast<int8_t>(e.values[at])) * scales[(column >> shift) * 16 + lane];
      if constexpr (D == DType::kFloat32) {
        static_cast<float*>(words)[at] = weight;
      } else {
        static_cast<uint16_t*>(words)[at] =
            D == DType::kBfloat16 ? float_to_bfloat16(weight) : float_to_float16(weight);
      }
    }
  }
}

template <DType D>
void fill(GapKernels& kernels) {
  kernels.product[0] = product<D, 1>;
  kernels.product[1] = product<D, 2>;
  kernels.product[2] = product<D, 4>;
  kernels.product_packed = product_packed<D>;
}
template <DType D>
void fill_words(KernelTable& table) {
  fill<D>(table.gaps[static_cast<int>(D)]);
  table.scale_gaps[static_cast<int>(D)] = scale_gaps<D>;
}

}  // namespace

void fill_scalar_gaps(KernelTable& table) {
  fill_words<DType::kFloat32>(table);
  fill_words<DType::kBfloat16>(table);
  fill_words<DType::kFloat16>(table);
  fill<DType::kIndex>(table.gap_numbers);
  table.multiply_gaps = multiply_gaps;
}

}  // namespace tersely
