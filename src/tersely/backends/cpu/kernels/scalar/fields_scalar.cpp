// Fields of 8-bit weights in plain C++: the readable form. layout.py of the formulation draws a block.
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

constexpr int kRunBytes = 32;
constexpr int kBlockWeights = 256;

void unpack_block(const uint8_t* runs, int bits, uint8_t* fields) {
  for (int i = 0; i < kBlockWeights; ++i) fields[i] = 0;
  int shift = 0;
  for (int width = 8; width > 0; width /= 2) {
    if ((bits & width) == 0) continue;
    const int mask = (1 << width) - 1, halves = 8 / width;
    for (int run = 0; run < width; ++run, runs += kRunBytes)
      for (int k = 0; k < halves; ++k)
        for (int b = 0; b < kRunBytes; ++b)
          fields[(run * halves + k) * kRunBytes + b] |= static_cast<uint8_t>((runs[b] >> (k * width) & mask) << shift);
    shift += width;
  }
}

void unpack_fields(const uint8_t* fields, int64_t blocks, int bits, uint8_t base, uint8_t flip, uint8_t* out) {
  for (int64_t block = 0; block < blocks; ++block, fields += kRunBytes * bits, out += kBlockWeights) {
    unpack_block(fields, bits, out);
    for (int i = 0; i < kBlockWeights; ++i) out[i] = static_cast<uint8_t>(out[i] + base) ^ flip;
  }
}

void turn_chunks(const uint8_t* chunks, int64_t count, uint8_t* out) {
  for (int64_t j = 0; j < count; ++j, chunks += 64, out += 64)
    for (int i = 0; i < 64; ++i) out[i % 4 * 16 + i / 4] = chunks[i];
}

void multiply_fields(const uint8_t* fields, int64_t blocks, int bits, const int8_t* x, int64_t x_stride, int slices,
                     int32_t* sums) {
  uint8_t own[kBlockWeights];
  for (int i = 0; i < slices * 16; ++i) sums[i] = 0;
  for (int64_t block = 0; block < blocks; ++block, fields += kRunBytes * bits, x += 16) {
    unpack_block(fields, bits, own);
    for (int s = 0; s < slices; ++s)
      for (int i = 0; i < kBlockWeights; ++i)
        sums[s * 16 + i % 64 / 4] += own[i] * x[s * x_stride + i / 64 * 4 + i % 4];
  }
}

void multiply_bytes(const uint8_t* const* rows, int64_t columns, bool is_signed, const int16_t* x, int64_t x_stride,
                    int slices, int32_t* sums) {
  for (int s = 0; s < slices; ++s)
    for (int k = 0; k < 4; ++k) {
      int32_t sum = 0;
      for (int64_t i = 0; i < columns; ++i)
        sum += (is_signed ? static_cast<int8_t>(rows[k][i]) : rows[k][i]) * x[s * x_stride + i];
      sums[s * 4 + k] = sum;
    }
}

void unpack_pairs(const uint8_t* pairs, int64_t count, bool is_signed, uint8_t* out) {
  const int sign = is_signed ? 8 : 0;
  for (int64_t i = 0; i < count; ++i) {
    out[2 * i] = static_cast<uint8_t>(((pairs[i] & 15) ^ sign) - sign);
    out[2 * i + 1] = static_cast<uint8_t>(((pairs[i] >> 4) ^ sign) - sign);
  }
}

}  // namespace

void fill_scalar_fields(KernelTable& table) {
  table.unpack_fields = unpack_fields;
  table.turn_chunks = turn_chunks;
  table.multiply_fields = multiply_fields;
  table.multiply_bytes = multiply_bytes;
  table.unpack_pairs = unpack_pairs;
}

}  // namespace tersely
