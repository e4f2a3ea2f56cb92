// See rows.hpp. None of this is hot beside the weights: x is read once per call, y written once (operand.hpp says what
// becomes of a sum).
#include "tersely/backends/cpu/matrix/rows.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {
namespace {

void widen(const KernelTable& table, const Rows& rows, int64_t b, int64_t columns, float* out) {
  if (rows.dtype == DType::kFloat32) {
    std::memcpy(out, rows.row(b), static_cast<size_t>(columns) * 4);
  } else {
    table.widen_words(rows.dtype, rows.row(b), columns, out);
  }
}

float activated(Activation activation, float value) {
  switch (activation) {
    case Activation::kRelu:
      return value < 0 ? 0.0F : value;  // NaN stays
    case Activation::kSilu:
      return value / (1.0F + std::exp(-value));
    case Activation::kGeluTanh:
      return 0.5F * value * (1.0F + std::tanh(0.7978845608028654F * (value + 0.044715F * value * value * value)));
    case Activation::kGeluErf:
      return 0.5F * value * (1.0F + std::erf(value * 0.7071067811865476F));
    default:
      return value;
  }
}

float float_at(DType dtype, const void* words, int64_t at) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(words)[at];
  const uint16_t word = static_cast<const uint16_t*>(words)[at];
  return dtype == DType::kBfloat16 ? std::bit_cast<float>(static_cast<uint32_t>(word) << 16) : float16_to_float(word);
}

// Everything that an epilogue asks for, sum by sum: they are still in the first-level cache.
void finish_any(const Epilogue& y, int64_t b, int64_t first, int64_t count, const float* sums) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t column = first + i, at = b * y.row_stride + column * y.column_stride;
    float value = y.bias == nullptr ? sums[i] : sums[i] + y.bias[column];
    if (y.accumulate) value += float_at(y.dtype, y.out, at);
    float residual = 0;
    if (y.residual != nullptr)
      residual = float_at(y.dtype, y.residual, b * y.residual_row_stride + column * y.residual_column_stride);
    if (y.residual != nullptr && y.residual_first) value += residual;
    value = activated(y.activation, value);
    if (y.residual != nullptr && !y.residual_first) value += residual;
    if (y.dtype == DType::kFloat32) {
      static_cast<float*>(y.out)[at] = value;
    } else {
      static_cast<uint16_t*>(y.out)[at] =
          y.dtype == DType::kBfloat16 ? float_to_bfloat16(value) : float_to_float16(value);
    }
  }
}

}  // namespace

const float* padded_floats(const KernelTable& table, const Rows& rows, int64_t columns, int64_t width, int64_t block,
                           Scratch& scratch) {
  if (rows.dtype == DType::kFloat32 && columns == width && rows.batch == block &&
      (block == 1 || rows.x_stride == columns))
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
    const int64_t first = item * batching.block, stride = rows.x_stride;
    uint32_t* to = out + pairs * first;
    const int64_t real = std::min<int64_t>(block, rows.batch - first), whole = columns / 2;
    const uint16_t* from = x + first * stride;
    if (real < block || whole < pairs) std::memset(to, 0, static_cast<size_t>(pairs * block) * 4);
    for (int64_t pair = 0; pair < whole; ++pair)
      for (int64_t k = 0; k < real; ++k) std::memcpy(to + pair * block + k, from + k * stride + pair * 2, 4);
    if (columns % 2)
      for (int64_t k = 0; k < real; ++k) to[whole * block + k] = from[k * stride + columns - 1];
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
        if (count > 0) std::memcpy(to, x + b * rows.x_stride + first, static_cast<size_t>(count) * 2);
        std::memset(to + count, 0, static_cast<size_t>(kColumns - count) * 2);
      }
    }
  });
  return out;
}

void finish_row(const Rows& rows, int64_t b, int64_t first, int64_t count, const float* sums) {
  const Epilogue& y = rows.y;
  if (!rows.plain) return finish_any(y, b, first, count, sums);
  const int64_t at = b * y.row_stride + first;
  const auto value = [&](int64_t i) { return y.bias == nullptr ? sums[i] : sums[i] + y.bias[first + i]; };
  switch (y.dtype) {
    case DType::kFloat32:
      for (int64_t i = 0; i < count; ++i) static_cast<float*>(y.out)[at + i] = value(i);
      break;
    case DType::kBfloat16:
      for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(y.out)[at + i] = float_to_bfloat16(value(i));
      break;
    default:
      for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(y.out)[at + i] = float_to_float16(value(i));
  }
}

void finish_rows(const Rows& rows, int64_t first, int64_t count, const float* sums) {
  for (int64_t b = 0; b < rows.batch; ++b) finish_row(rows, b, first, count, sums + b * 16);
}

}  // namespace tersely
