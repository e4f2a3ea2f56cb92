// See values.hpp. Everything is decoded by the palette's own kernels: they walk packed indices as they are, and ask for
// the others as bytes.
#include "tersely/codes/words/palette/values.hpp"

#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/codes/opening.hpp"

namespace tersely {
namespace {

// Moves 64 indices up and puts packed low bits, 1 to 7, below them.
void put_below(const uint8_t* packed, int bits, uint8_t* indices) {
  for (int i = 0; i < 64; ++i) indices[i] = static_cast<uint8_t>(indices[i] << bits);
  int shift = 0;
  if (bits & 4) {
    for (int b = 0; b < 32; ++b) {
      indices[b] |= packed[b] & 15;
      indices[b + 32] |= packed[b] >> 4;
    }
    packed += 32;
    shift = 4;
  }
  if (bits & 2) {
    for (int k = 0; k < 4; ++k)
      for (int b = 0; b < 16; ++b) indices[b + 16 * k] |= static_cast<uint8_t>((packed[b] >> (2 * k) & 3) << shift);
    packed += 16;
    shift += 2;
  }
  if (bits & 1)
    for (int b = 0; b < 8; ++b) {
      // Byte k keeps bit k; adding 127 brings it to the top.
      const uint64_t kept = packed[b] * 0x0101010101010101u & 0x8040201008040201u;
      uint64_t eight;
      std::memcpy(&eight, indices + b * 8, 8);
      eight |= ((kept + 0x7F7F7F7F7F7F7F7Fu) >> 7 & 0x0101010101010101u) << shift;
      std::memcpy(indices + b * 8, &eight, 8);
    }
}

// Cursor::decode_indices for indices that are split: the high parts, then the low bits.
void decode_both(const Parameters& high, Cursor& cursor, int64_t chunks, void* out) {
  cursor.decode_high(high, cursor, chunks, out);
  auto* indices = static_cast<uint8_t*>(out);
  for (int64_t j = 0; j < chunks; ++j, cursor.low += 8 * cursor.low_bits)
    put_below(cursor.low, cursor.low_bits, indices + j * kChunkWeights);
}

}  // namespace

void pack_groups(const uint8_t* indices, int64_t groups, int bits, uint8_t* out, int threads) {
  constexpr int64_t kBlock = 1024;
  parallel_for(threads, ceil_div(groups, kBlock), [&](int64_t block) {
    const int64_t last = std::min(groups, (block + 1) * kBlock);
    for (int64_t group = block * kBlock; group < last; ++group)
      pack_chunk(indices + group * kChunkWeights, bits, out + group * 8 * bits);
  });
}

PaletteValues::PaletteValues(const Node& node, DType dtype, const Components& components,
                             const std::vector<uint64_t>& groups) {
  const int64_t entries = node.parameters.at("entries").number();
  require(entries >= 1 && entries <= 256, "a palette has 1 to 256 words");
  make_palette(palette_, dtype, components.index("table", entries * kFields[static_cast<int>(dtype)].word_bytes),
               static_cast<int>(entries));
  const bool coded = !node.children.empty();
  const int64_t low_bits = coded ? node.parameters.number_or("packed_bits", 0) : palette_.index_bits;
  require(low_bits >= 0 && low_bits <= 8 && !(coded && low_bits == 8), "packed_bits out of range");
  low_bits_ = static_cast<int>(low_bits);
  if (low_bits_ != 0)
    packed_ = components.stream(coded ? "low" : "indices",
                                checked_product(static_cast<int64_t>(groups.back()), 8 * low_bits_));
  if (coded)
    high_ = std::make_unique<SplitValues>(node.child("indices"), DType::kIndex, components.under("indices"), groups);
  parameters_.dtype = dtype;
  parameters_.code = SymbolCode::kPalette;
}

void PaletteValues::begin(const KernelTable& table, const ValueGroups& groups, uint8_t* scratch, Cursor& cursor) const {
  const uint8_t* packed = low_bits_ == 0 ? nullptr : packed_ + groups.first * 8 * low_bits_;
  if (high_ == nullptr) {
    cursor = {packed, nullptr, nullptr};
  } else {
    high_->begin(table, groups, scratch, cursor);
    cursor.index_parameters = &high_->parameters();
    const auto decode = table.codes[static_cast<int>(DType::kIndex)][code_index(high_->parameters())][0].decode_words;
    cursor.decode_indices = low_bits_ == 0 ? decode : decode_both;
    cursor.decode_high = decode;
    cursor.low = packed;
    cursor.low_bits = low_bits_;
  }
  cursor.palette = &palette_;
}

void PaletteValues::next(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const {
  const auto& kernels = table.codes[static_cast<int>(parameters_.dtype)][kPaletteIndex][0];
  kernels.decode_words(parameters_, cursor, groups, out);
}

void PaletteValues::next_indices(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const {
  if (cursor.decode_indices != nullptr) return cursor.decode_indices(*cursor.index_parameters, cursor, groups, out);
  table.unpack_indices(cursor.tile, groups, palette_.index_bits, out);
  cursor.tile += groups * 8 * palette_.index_bits;
}

uint32_t PaletteValues::access(const ValueGroups& groups, int64_t index) const {
  const int64_t group = index / kChunkWeights;
  const auto inside = static_cast<int>(index % kChunkWeights);
  // The position whose vector position this is.
  const int position =
      parameters_.dtype == DType::kBfloat16 ? (inside / 32 * 2 + inside % 2) * 16 + inside % 32 / 2 : inside;
  uint32_t found = high_ == nullptr ? 0 : high_->access(groups, group * kChunkWeights + position) << low_bits_;
  if (low_bits_ != 0)
    found |= static_cast<uint32_t>(packed_index(packed_ + (groups.first + group) * 8 * low_bits_, low_bits_, position));
  return palette_.words.dwords[found & 255];
}

}  // namespace tersely
