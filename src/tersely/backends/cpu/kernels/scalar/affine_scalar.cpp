// Numbers to weights in plain C++: the readable form.
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/kernels/affine_groups.hpp"
#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// A float as a word of the dtype reads.
template <DType D>
float as_read(float weight) {
  if constexpr (D == DType::kBfloat16) return std::bit_cast<float>(uint32_t{float_to_bfloat16(weight)} << 16);
  if constexpr (D == DType::kFloat16) return float16_to_float(float_to_float16(weight));
  return weight;
}

// What sparse numbers say for a chunk: number minus zero of each weight. A chunk whose values are not all there (a
// damaged file) is zeros and takes none.
void take_sparse(Cursor& cursor, float (&steps)[64]) {
  uint64_t mask;
  std::memcpy(&mask, cursor.tile, 8);
  cursor.tile += 8;
  std::memset(steps, 0, sizeof steps);
  // SAFE BECAUSE: survivors moves only where all of a chunk's values lie before the end.
  if (cursor.survivors_end - cursor.survivors < std::popcount(mask)) return;
  for (; mask != 0; mask &= mask - 1)
    steps[std::countr_zero(mask)] = static_cast<float>(static_cast<int8_t>(*cursor.survivors++));
}

// Calls take(chunk, row, column, weight) for each position of a panel's next chunks.
template <bool Sparse, class Take>
void for_weights(Cursor& cursor, int64_t chunks, Take&& take) {
  float steps[64];
  for (int64_t j = 0; j < chunks; ++j, cursor.tile += Sparse ? 0 : kChunkWeights) {
    if (cursor.group_left == 0) cursor.group_left = (++cursor.group)->chunks;
    --cursor.group_left;
    if constexpr (Sparse) take_sparse(cursor, steps);
    for (int position = 0; position < 64; ++position) {
      if constexpr (Sparse) {
        take(j, position % 16, position / 16, cursor.group->scales[position % 16] * steps[position]);
        continue;
      }
      const int row = position % 16;
      const uint8_t number = cursor.tile[position];
      float weight = cursor.group->scales[row] * (static_cast<float>(number) - cursor.group->zeros[row]);
      if (cursor.negative_zeros && number == kNegativeZero) weight = -0.0F;
      take(j, row, position / 16, weight);
    }
  }
}

template <DType D, bool Sparse>
void decode_words(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  for_weights<Sparse>(cursor, chunks, [&](int64_t j, int row, int column, float weight) {
    const int64_t at = j * 64 + vector_position(D, row, column);
    if constexpr (D == DType::kFloat32) {
      static_cast<float*>(out)[at] = weight;
    } else {
      static_cast<uint16_t*>(out)[at] = D == DType::kBfloat16 ? float_to_bfloat16(weight) : float_to_float16(weight);
    }
  });
}

template <DType D, bool Sparse>
void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  for_weights<Sparse>(cursor, chunks, [&](int64_t j, int row, int column, float weight) {
    out[j * 64 + column * 16 + row] = as_read<D>(weight);
  });
}

uint64_t equal_bytes(const uint8_t* bytes, const uint8_t* zeros) {
  uint64_t found = 0;
  for (int i = 0; i < 64; ++i) found |= static_cast<uint64_t>(bytes[i] == zeros[i % 16]) << i;
  return found;
}

void add_bytes(uint8_t* bytes, int64_t chunks, const uint8_t* addends) {
  for (int64_t i = 0; i < chunks * 64; ++i) bytes[i] = static_cast<uint8_t>(bytes[i] + addends[i % 16]);
}

void expand_row_fields(const uint8_t* lines, int64_t lines_per_row, int64_t first, int64_t last, int bits,
                       uint8_t* out) {
  for (int64_t row = 0; row < 16; ++row, lines += lines_per_row * kLineBytes)
    for (int64_t column = first * line_columns(bits); column < last * line_columns(bits); ++column)
      out[(column - first * line_columns(bits)) * 16 + row] = line_field(lines, bits, column);
}

// Calls take(row, column, group, field) for every position of lines.
template <class Take>
void for_fields(const RowFieldsPart& part, Take&& take) {
  for (int64_t row = 0; row < 16; ++row)
    for (int64_t column = 0; column < part.lines_per_row * line_columns(part.bits); ++column)
      take(row, column, column / kStepColumns / part.group_steps,
           line_field(part.lines + row * part.row_bytes, part.bits, column));
}

template <DType D>
void multiply_row_fields(const RowFieldsPart& part, const float* x, int64_t x_stride, int batch, float* sums) {
  for_fields(part, [&](int64_t row, int64_t column, int64_t group, uint8_t field) {
    const int64_t at = group * 16 + row;
    const float weight = part.tables != nullptr
                             ? part.tables[at * 16 + field]
                             : as_read<D>(part.scales[at] * (static_cast<float>(field) - part.zeros[at]));
    for (int b = 0; b < batch; ++b) sums[b * 16 + row] += weight * x[b * x_stride + column];
  });
}

template <DType D>
void fill(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][kAffineIndex][0];
  kernels.decode_words = decode_words<D, false>;
  kernels.decode_floats = decode_floats<D, false>;
  CodeKernels& sparse = table.codes[static_cast<int>(D)][kSparseAffineIndex][0];
  sparse.decode_words = decode_words<D, true>;
  sparse.decode_floats = decode_floats<D, true>;
  table.multiply_row_fields[static_cast<int>(D)] = multiply_row_fields<D>;
}

}  // namespace

void fill_scalar_affine(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
  table.equal_bytes = equal_bytes;
  table.add_bytes = add_bytes;
  table.expand_row_fields = expand_row_fields;
}

}  // namespace tersely
