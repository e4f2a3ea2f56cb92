// Cutting words and coding symbols in plain C++: what FORMAT says of `split`, one weight at a time.
#include <cstring>

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

template <DType D>
uint32_t split_typed(const uint8_t* words, int64_t row_stride, SplitTile& pieces) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  uint32_t tail_bits = 0;
  for (int row = 0; row < kPanelRows; ++row, words += row_stride)
    for (int column = 0; column < kTileChunks * kChunkColumns; ++column) {
      uint32_t word = 0;
      std::memcpy(&word, words + column * f.word_bytes, f.word_bytes);
      const uint32_t head = D == DType::kFloat32 ? word >> 16 : word;
      const int j = column / 4, at = chunk_position(D, row, column % 4);
      pieces.symbols[j][at] = static_cast<uint8_t>(head >> f.symbol_shift & ((1u << f.symbol_bits) - 1));
      if (f.has_byte) pieces.bytes[j][at] = static_cast<uint8_t>(f.rotated ? head << 1 | head >> 15 : head);
      if (f.odd_count > 0) {
        uint8_t odd = 0;
        for (int k = 0; k < f.odd_count; ++k) odd |= static_cast<uint8_t>(((head & f.odd_values[k]) != 0) << k);
        pieces.odd[j][at] = odd;
      }
      if (D == DType::kFloat32) {
        tail_bits |= word;
        pieces.tails[j][tail_position(row, column % 4)] = static_cast<uint16_t>(word);
      }
    }
  return tail_bits & 0xFFFF;
}

uint32_t split_words(DType dtype, const uint8_t* words, int64_t row_stride, SplitTile& pieces) {
  switch (dtype) {
    case DType::kFloat32:
      return split_typed<DType::kFloat32>(words, row_stride, pieces);
    case DType::kBfloat16:
      return split_typed<DType::kBfloat16>(words, row_stride, pieces);
    case DType::kFloat16:
      return split_typed<DType::kFloat16>(words, row_stride, pieces);
    case DType::kFloat8E4M3:
      return split_typed<DType::kFloat8E4M3>(words, row_stride, pieces);
    case DType::kIndex:
      return split_typed<DType::kIndex>(words, row_stride, pieces);
    default:
      return split_typed<DType::kFloat8E5M2>(words, row_stride, pieces);
  }
}

// Appending writes first and counts afterwards: about every third symbol survives, which no branch predictor foresees.
int64_t code_group(const uint8_t* symbols, const CodeLevel& level, uint8_t* fields, uint8_t* survivors) {
  int64_t count = 0;
  for (int i = 0; i < 64; ++i) {
    const uint8_t symbol = symbols[i];
    const int local = level.ranks[symbol] - level.start;
    fields[i] = static_cast<uint8_t>(local < level.own ? local : level.own);
    survivors[count] = symbol;
    count += local >= level.own;
  }
  return count;
}

}  // namespace

void fill_scalar_encode(KernelTable& table) {
  table.split_words = split_words;
  table.code_group = code_group;
}

}  // namespace tersely
