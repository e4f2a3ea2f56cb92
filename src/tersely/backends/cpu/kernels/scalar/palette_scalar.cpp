// Palette chunks in plain C++: 64 indices, 64 lookups.
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/kernels/index_blocks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// Calls take(chunk, row, column, index) for each place.
template <class Take>
void for_indices(Cursor& cursor, int64_t chunks, Take&& take) {
  for_index_blocks(cursor, chunks, [&](auto bits, auto, const uint8_t* at, int64_t first, int64_t count) {
    constexpr int kBits = decltype(bits)::value;
    for (int64_t j = 0; j < count; ++j, at += 8 * kBits)
      for (int place = 0; place < 64; ++place) take(first + j, place % 16, place / 16, packed_index(at, kBits, place));
  });
}

template <DType D>
void decode_words(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  const Lookup& words = cursor.palette->words;
  for_indices(cursor, chunks, [&](int64_t j, int row, int column, int index) {
    std::memcpy(static_cast<uint8_t*>(out) + (j * 64 + vector_position(D, row, column)) * kWordBytes,
                &words.dwords[index], kWordBytes);
  });
}

void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  const Lookup& floats = cursor.palette->floats;
  for_indices(cursor, chunks, [&](int64_t j, int row, int column, int index) {
    out[j * 64 + column * 16 + row] = std::bit_cast<float>(floats.dwords[index]);
  });
}

template <DType D>
void fill(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][kPaletteIndex][0];
  kernels.decode_words = decode_words<D>;
  kernels.decode_floats = decode_floats;
}

}  // namespace

void fill_scalar_palette(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace tersely
