// Bitmap chunks in plain C++: one mask word a chunk, bit b for the word at position b of the vector order.
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// One chunk's 64 words. A chunk whose values are not all there (a damaged file) is zeros and takes none.
template <DType D>
void decode_chunk(Cursor& cursor, uint8_t* out) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  uint64_t mask;
  std::memcpy(&mask, cursor.tile, 8);
  cursor.tile += 8;
  std::memset(out, 0, 64 * kWordBytes);
  // SAFE BECAUSE: survivors moves only where all of a chunk's values lie before the end.
  if (cursor.survivors_end - cursor.survivors < std::popcount(mask) * kWordBytes) return;
  for (; mask != 0; mask &= mask - 1, cursor.survivors += kWordBytes)
    std::memcpy(out + std::countr_zero(mask) * kWordBytes, cursor.survivors, kWordBytes);
}

template <DType D>
void decode_words(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  constexpr int kChunkBytes = 64 * kFields[static_cast<int>(D)].word_bytes;
  for (int64_t j = 0; j < chunks; ++j) decode_chunk<D>(cursor, static_cast<uint8_t*>(out) + j * kChunkBytes);
}

template <DType D>
void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  uint8_t words[64 * kWordBytes];
  for (int64_t j = 0; j < chunks; ++j, out += 64) {
    decode_chunk<D>(cursor, words);
    for (int column = 0; column < 4; ++column)
      for (int row = 0; row < 16; ++row)
        out[column * 16 + row] = weight_at<D>(words + vector_position(D, row, column) * kWordBytes);
  }
}

int64_t count_bits(const uint8_t* words, int64_t count) {
  int64_t bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t word;
    std::memcpy(&word, words + i * 8, 8);
    bits += std::popcount(word);
  }
  return bits;
}

template <DType D>
void fill(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][kBitmapIndex][0];
  kernels.decode_words = decode_words<D>;
  kernels.decode_floats = decode_floats<D>;
}

}  // namespace

void fill_scalar_bitmap(KernelTable& table) {
  table.count_bits = count_bits;
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
  // Integers, which are decoded for products.
  table.codes[static_cast<int>(DType::kIndex)][kBitmapIndex][0].decode_words = decode_words<DType::kIndex>;
}

}  // namespace tersely
