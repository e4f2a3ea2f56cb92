// A slot: how likely a bit is 1 in a context (22 bits), and how often it was seen there (10 bits).
#pragma once

#include <algorithm>
#include <cstdint>

#include "tersely/storage/mixing/tables.hpp"

namespace tersely::storage {

using Slot = uint32_t;

inline constexpr Slot kNewSlot = 1U << 31;

inline uint32_t count_of(Slot slot) { return slot & 1023; }

/// The slot after a bit: it moves the less the more often it was seen.
[[gnu::always_inline]] inline Slot moved(Slot slot, bool bit, const Tables& table) {
  const uint32_t count = count_of(slot);
  const auto p = static_cast<int32_t>(slot >> 10);
  const int32_t target = -static_cast<int32_t>(bit) & ((1 << 22) - 1);
  const auto to = p + static_cast<int32_t>((int64_t{target - p} * table.rate[count]) >> 16);
  return static_cast<uint32_t>(to) << 10 | std::min(count + 1, kCountLimit);
}

/// Codes one bit by a slot alone.
template <class Coder>
[[gnu::always_inline]] inline bool code_alone(Coder& coder, bool bit, Slot& slot, const Tables& table) {
  bit = coder(bit, std::clamp(slot >> 16, 16U, 65520U));
  slot = moved(slot, bit, table);
  return bit;
}

}  // namespace tersely::storage
