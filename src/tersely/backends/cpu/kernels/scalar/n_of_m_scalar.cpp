// n of m in plain C++: the columns of each row's code, and a word for each of them. Nothing has to be clamped: codes
// beyond the last stand for the last, and a block takes 16 n values whatever its codes are.
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// Calls visit(first chunk, columns of each of 16 rows as bits, values) for each block of m columns.
template <DType D, class Visit>
void for_blocks(const Parameters& p, Cursor& cursor, int64_t chunks, Visit&& visit) {
  const int64_t block_chunks = p.m / kChunkColumns, blocks = (chunks + block_chunks - 1) / block_chunks;
  for (int64_t block = 0; block < blocks; ++block) {
    uint8_t chosen[16];
    for (int row = 0; row < 16; ++row) {
      uint64_t codes = 0;
      std::memcpy(&codes, cursor.tile + row * p.n_of_m_bits, static_cast<size_t>(p.n_of_m_bits));
      chosen[row] = p.selections[codes >> (block % 8 * p.n_of_m_bits) & ((1u << p.n_of_m_bits) - 1)];
    }
    visit(block * block_chunks, chosen, cursor.survivors);
    cursor.survivors += 16 * p.n * kFields[static_cast<int>(D)].word_bytes;
    if (block % 8 == 7 || block + 1 == blocks) cursor.tile += 16 * p.n_of_m_bits;
  }
}

template <DType D>
void decode_words(const Parameters& p, Cursor& cursor, int64_t chunks, void* out) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  auto* words = static_cast<uint8_t*>(out);
  std::memset(words, 0, static_cast<size_t>(chunks) * 64 * kWordBytes);
  for_blocks<D>(p, cursor, chunks, [&](int64_t first, const uint8_t (&chosen)[16], const uint8_t* values) {
    for (int row = 0; row < 16; ++row) {
      unsigned left = chosen[row];
      for (int slot = 0; slot < p.n; ++slot, left &= left - 1) {
        const int column = std::countr_zero(left);
        if (first + column / 4 >= chunks) break;  // the half of the last block of 8 that is no chunk
        std::memcpy(words + ((first + column / 4) * 64 + vector_position(D, row, column % 4)) * kWordBytes,
                    values + slot_position(D, p.n, row, slot) * kWordBytes, kWordBytes);
      }
    }
  });
}

template <DType D>
void decode_floats(const Parameters& p, Cursor& cursor, int64_t chunks, float* out) {
  std::memset(out, 0, static_cast<size_t>(chunks) * 64 * 4);
  for_blocks<D>(p, cursor, chunks, [&](int64_t first, const uint8_t (&chosen)[16], const uint8_t* values) {
    for (int row = 0; row < 16; ++row) {
      unsigned left = chosen[row];
      for (int slot = 0; slot < p.n; ++slot, left &= left - 1) {
        const int column = std::countr_zero(left);
        if (first + column / 4 >= chunks) break;
        out[first * 64 + column * 16 + row] =
            weight_at<D>(values + slot_position(D, p.n, row, slot) * kFields[static_cast<int>(D)].word_bytes);
      }
    }
  });
}

template <DType D>
void fill(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][kNOfMIndex][0];
  kernels.decode_words = decode_words<D>;
  kernels.decode_floats = decode_floats<D>;
}

}  // namespace

void fill_scalar_n_of_m(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace tersely
