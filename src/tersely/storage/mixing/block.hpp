// A block of level `max`: tensors one after the other, through one arithmetic coder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tersely/storage/mixing/words_model.hpp"

namespace tersely::storage {

/// A tensor's memory and what it is: bytes of a number (1, 2, 4 or 8), exponent and mantissa of floats (0: none).
struct MixedItem {
  uint8_t* data;
  size_t bytes;
  uint32_t word_bytes;
  int exponent;
  int mantissa;
  Axes axes;
};

/// Appends a block to `out`. sides: for each item its form, as FORMAT.md has it; says what is wrong with them, or ''.
std::string encode_mixed(const std::vector<MixedItem>& items, const std::vector<std::vector<uint8_t>>& sides,
                         std::vector<uint8_t>& out);

/// Fills the items from a block. Says what is wrong with it, or ''. Whatever a block holds, it takes time in proportion
/// to the items' bytes and memory in proportion to the largest.
std::string decode_mixed(const uint8_t* data, size_t bytes, const std::vector<MixedItem>& items);

}  // namespace tersely::storage
