// Folded words back to words: loops that every instruction set's compiler options make vectors of. Included by kernel
// files only; everything is internal to them.
#pragma once

#include <cstdint>

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// All ones where the sign is set, but for the sign itself, which stays.
void unfold_bytes(const uint8_t* __restrict folded, int64_t count, uint8_t centre, uint8_t* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    const auto negative = static_cast<uint8_t>(static_cast<int8_t>(folded[i]) < 0 ? 0x7F : 0);
    out[i] = static_cast<uint8_t>((folded[i] ^ negative) + centre);
  }
}

void unfold_words(const uint16_t* __restrict folded, int64_t count, uint16_t centre, uint16_t* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    const auto negative = static_cast<uint16_t>(static_cast<int16_t>(folded[i]) < 0 ? 0x7FFF : 0);
    out[i] = static_cast<uint16_t>((folded[i] ^ negative) + centre);
  }
}

void unfold_wide(const uint8_t* __restrict folded, int64_t count, uint16_t centre, uint16_t* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    const auto wide = static_cast<int16_t>(static_cast<int8_t>(folded[i]));  // the sign in all bits above the size
    const auto negative = static_cast<int16_t>(wide < 0 ? 0x7F : 0);
    out[i] = static_cast<uint16_t>((wide ^ negative) + centre);
  }
}

constexpr UnfoldKernels kUnfold{unfold_bytes, unfold_words, unfold_wide};

}  // namespace
}  // namespace tersely
