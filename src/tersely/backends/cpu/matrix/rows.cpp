// See rows.hpp. None of this is hot beside the weights: x is read once per call, y written once.
#include "tersely/backends/cpu/matrix/rows.hpp"

#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {
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

const uint32_t* packed_floats(const KernelTable& table, const Rows& rows, int64_t columns, int64_t width,
                              Batching batching, int threads, Scratch& scratch) {
  auto* out = scratch.get<float>(batching.rows() * width * 4);
  parallel_for(threads, batching.blocks, [&](int64_t item) {
    static thread_local Scratch plain_scratch;
    const int block = batching.of(item);
    auto* plain = plain_scratch.get<float>(block * width * 4);
    for (int k = 0; k < block; ++k) {
      const int64_t b = item * batching.block + k, filled = b < rows.batch ? columns : 0;
      if (filled) widen(table, rows, b, columns, plain + k * width);
      std::memset(plain + k * width + filled, 0, static_cast<size_t>(width - filled) * 4);
    }
    float* to = out + item * width * batching.block;
    for (int64_t column = 0; column < width; ++column)
      for (int k = 0; k < block; ++k) to[column * block + k] = plain[k * width + column];
  });
  return reinterpret_cast<const uint32_t*>(out);
}

const uint32_t* packed_pairs(const Rows& rows, int64_t columns, int64_t width, Batching batching, int threads,
                             Scratch& scratch) {
  const int64_t pairs = width / 2;
  auto* out = scratch.get<uint32_t>(batching.rows() * pairs * 4);
  const auto* x = static_cast<const uint16_t*>(rows.x);
  parallel_for(threads, batching.blocks, [&](int64_t item) {
    const int block = batching.of(item);
    const int64_t first = item * batching.block;
    uint32_t* to = out + pairs * first;
    const int64_t real = std::min<int64_t>(block, rows.batch - first), whole = columns / 2;
    const uint16_t* from = x + first * columns;
    if (real < block || whole < pairs) std::memset(to, 0, static_cast<size_t>(pairs * block) * 4);
    for (int64_t pair = 0; pair < whole; ++pair)
      for (int64_t k = 0; k < real; ++k) std::memcpy(to + pair * block + k, from + k * columns + pair * 2, 4);
    if (columns % 2)
      for (int64_t k = 0; k < real; ++k) to[whole * block + k] = from[k * columns + columns - 1];
  });
  return out;
}

const uint16_t* packed_tiles(const Rows& rows, int64_t columns, int block, int threads, Scratch& scratch) {
  constexpr int64_t kColumns = kTileChunks * kChunkColumns;
  const int64_t blocks = ceil_div(rows.batch, block), tiles = ceil_div(columns, kColumns);
  auto* out = scratch.get<uint16_t>(blocks * block * tiles * kColumns * 2);
  const auto* x = static_cast<const uint16_t*>(rows.x);
  parallel_for(threads, blocks, [&](int64_t item) {
    uint16_t* to = out + item * tiles * block * kColumns;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t first = tile * kColumns, filled = std::min(kColumns, columns - first);
      for (int64_t k = 0; k < block; ++k, to += kColumns) {
        const int64_t b = item * block + k, count = b < rows.batch ? filled : 0;
        if (count > 0) std::memcpy(to, x + b * columns + first, static_cast<size_t>(count) * 2);
        std::memset(to + count, 0, static_cast<size_t>(kColumns - count) * 2);
      }
    }
  });
  return out;
}

void finish_row(const Rows& rows, int64_t outer, int64_t b, int64_t first, int64_t count, const float* sums) {
  const int64_t at = b * outer + first;
  const auto value = [&](int64_t i) { return rows.bias == nullptr ? sums[i] : sums[i] + rows.bias[first + i]; };
  switch (rows.dtype) {
    case DType::kFloat32:
      for (int64_t i = 0; i < count; ++i) static_cast<float*>(rows.out)[at + i] = value(i);
      break;
    case DType::kBfloat16:
      for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(rows.out)[at + i] = float_to_bfloat16(value(i));
      break;
    default:
      for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(rows.out)[at + i] = float_to_float16(value(i));
  }
}

void finish_rows(const Rows& rows, int64_t outer, int64_t first, int64_t count, const float* sums) {
  for (int64_t b = 0; b < rows.batch; ++b) finish_row(rows, outer, b, first, count, sums + b * 16);
}

}  // namespace tersely
