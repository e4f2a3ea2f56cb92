// See rows.hpp. None of this is hot beside the weights: x is read once per call, y written once.
#include "laconic/formulations/split/rows.hpp"

#include <algorithm>
#include <cstring>

#include "laconic/formulations/split/walk.hpp"
#include "laconic/kernels/scalar/floats.hpp"

namespace laconic {
namespace {

void widen(const KernelTable& table, const Rows& rows, int64_t b, int64_t columns, float* out) {
  if (rows.dtype == DType::kFloat32) {
    std::memcpy(out, static_cast<const float*>(rows.x) + b * columns, static_cast<size_t>(columns) * 4);
  } else {
    table.widen_words(rows.dtype, static_cast<const uint16_t*>(rows.x) + b * columns, columns, out);
  }
}

}  // namespace

const float* padded_floats(const KernelTable& table, const Rows& rows, int64_t columns, int64_t width, int64_t block,
                           Scratch& scratch) {
  if (rows.dtype == DType::kFloat32 && columns == width && rows.batch == block)
    return static_cast<const float*>(rows.x);
  auto* out = scratch.get<float>(block * width * 4);
  for (int64_t b = 0; b < block; ++b) {
    const int64_t filled = b < rows.batch ? columns : 0;
    if (filled) widen(table, rows, b, columns, out + b * width);
    std::memset(out + b * width + filled, 0, static_cast<size_t>(width - filled) * 4);
  }
  return out;
}

const uint32_t* packed_floats(const KernelTable& table, const Rows& rows, int64_t columns, int64_t width, int block,
                              Scratch& scratch) {
  const int64_t blocks = ceil_div(rows.batch, block);
  // One row of plain floats behind the packed ones.
  auto* out = scratch.get<float>((blocks * block * width + width) * 4);
  float* row = out + blocks * block * width;
  for (int64_t b = 0; b < blocks * block; ++b) {
    const int64_t filled = b < rows.batch ? columns : 0;
    if (filled) widen(table, rows, b, columns, row);
    std::memset(row + filled, 0, static_cast<size_t>(width - filled) * 4);
    float* to = out + b / block * width * block + b % block;
    for (int64_t column = 0; column < width; ++column) to[column * block] = row[column];
  }
  return reinterpret_cast<const uint32_t*>(out);
}

const uint32_t* packed_pairs(const Rows& rows, int64_t columns, int64_t width, int block, Scratch& scratch) {
  const int64_t blocks = ceil_div(rows.batch, block);
  auto* out = scratch.get<uint32_t>(blocks * block * width / 2 * 4);
  const auto* x = static_cast<const uint16_t*>(rows.x);
  for (int64_t b = 0; b < blocks * block; ++b) {
    uint32_t* to = out + b / block * (width / 2) * block + b % block;
    const uint16_t* from = x + b * columns;
    for (int64_t pair = 0; pair < width / 2; ++pair) {
      uint32_t value = 0;
      if (b < rows.batch) {
        if (pair * 2 < columns) value = from[pair * 2];
        if (pair * 2 + 1 < columns) value |= static_cast<uint32_t>(from[pair * 2 + 1]) << 16;
      }
      to[pair * block] = value;
    }
  }
  return out;
}

void finish_row(const Rows& rows, int64_t outer, int64_t b, int64_t first, int64_t count, const float* sums) {
  const int64_t at = b * outer + first;
  for (int64_t i = 0; i < count; ++i) {
    const float value = rows.bias == nullptr ? sums[i] : sums[i] + rows.bias[first + i];
    switch (rows.dtype) {
      case DType::kFloat32:
        static_cast<float*>(rows.out)[at + i] = value;
        break;
      case DType::kBfloat16:
        static_cast<uint16_t*>(rows.out)[at + i] = float_to_bfloat16(value);
        break;
      default:
        static_cast<uint16_t*>(rows.out)[at + i] = float_to_float16(value);
    }
  }
}

void finish_rows(const Rows& rows, int64_t outer, int64_t first, int64_t count, const float* sums) {
  for (int64_t b = 0; b < rows.batch; ++b) finish_row(rows, outer, b, first, count, sums + b * 16);
}

}  // namespace laconic
