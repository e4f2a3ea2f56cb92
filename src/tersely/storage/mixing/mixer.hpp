// The prediction of one bit from several contexts, mixed in the logistic domain.
//
// Each context has a slot: how often the bit was 1 in it (22 bits) and how often it was seen (10 bits). The first is
// the base; each other says how it differs from the base, weighed by what such differences were worth so far: a weight
// for each context and for each magnitude of its count, so that contexts that were seen seldom say little. Weights
// learn by the gradient of the cost. After M. Mahoney, "Adaptive weighing of context models for lossless data
// compression", Florida Tech TR CS-2005-16; differences from a base instead of predictions are ours: a context that
// tells nothing then adds no noise.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersely/storage/mixing/tables.hpp"

namespace tersely::storage {

/// Weights, in 65,536ths, stay within this: sums of them fit whatever a stream holds.
inline constexpr int32_t kMaxWeight = 1 << 24;

/// Mixes words to a hash: 32 bits.
inline uint32_t hash(uint32_t a, uint32_t b, uint32_t c = 0) {
  uint32_t h = a * 0x9E3779B1U ^ (b + 0x7F4A7C15U) * 0x85EBCA6BU ^ (c + 0x165667B1U) * 0xC2B2AE35U;
  h ^= h >> 15;
  h *= 0x2C1B3C6DU;
  return h ^ h >> 13;
}

/// How a mixer begins and learns.
struct Habits {
  uint32_t doubt;  // a context seen n times begins with the weight trust / 100 * n / (n + doubt)
  uint32_t trust;
  int32_t rate;
};

template <size_t kContexts>
class Mixer {
 public:
  /// lines: 16 slots each, a power of 2. sets: of weights; the caller says at each bit which one counts.
  Mixer(size_t lines, size_t sets, Habits habits)
      : rate_(habits.rate),
        mask_(static_cast<uint32_t>(lines - 1)),
        slots_(lines * 16, 1U << 31),
        weights_(sets * kContexts * kBuckets) {
    for (size_t set = 0; set < sets; ++set)
      for (size_t context = 0; context < kContexts; ++context)
        for (size_t bucket = 0; bucket < kBuckets; ++bucket) {
          const int64_t n = (int64_t{1} << bucket) - 1;
          weights_[(set * kContexts + context) * kBuckets + bucket] =
              context == 0 ? 65536 : static_cast<int32_t>(65536 * n / (n + habits.doubt) * habits.trust / 100);
        }
  }

  [[nodiscard]] uint32_t* line(uint32_t hashed) { return slots_.data() + (size_t{hashed & mask_} << 4); }

  /// Codes one bit. lines: one for each context; local: the slot of it, 1 to 15.
  template <class Coder>
  bool code(Coder& coder, bool bit, uint32_t* const* lines, uint32_t local, size_t set) {
    const Tables& table = tables_;
    int32_t* const weights = weights_.data() + set * kContexts * kBuckets;
    std::array<int32_t, kContexts> says;
    std::array<int32_t*, kContexts> weight;
    const uint32_t first = lines[0][local];
    const int32_t base = table.stretch[first >> 20];
    says[0] = base;
    weight[0] = weights;
    int64_t sum = int64_t{base} * weights[0];
    for (size_t k = 1; k < kContexts; ++k) {
      const uint32_t slot = lines[k][local];
      const uint32_t count = slot & 1023;
      says[k] = count == 0 ? 0 : std::clamp(table.stretch[slot >> 20] - base, -1023, 1023);
      weight[k] = weights + k * kBuckets + table.bucket[count];
      sum += int64_t{says[k]} * *weight[k];
    }
    const auto mixed = static_cast<int32_t>(std::clamp<int64_t>(sum >> 16, -kStretchLimit, kStretchLimit));
    const uint32_t probability = table.squash[static_cast<size_t>(mixed + 4096)];
    bit = coder(bit, probability);
    const int32_t error = (bit ? 65536 : 0) - static_cast<int32_t>(probability);
    for (size_t k = 0; k < kContexts; ++k) {
      *weight[k] = std::clamp(*weight[k] + ((says[k] * error * rate_ + (1 << 17)) >> 18), -kMaxWeight, kMaxWeight);
      uint32_t& slot = lines[k][local];
      const uint32_t count = slot & 1023;
      const auto p = static_cast<int32_t>(slot >> 10);
      const int32_t target = bit ? (1 << 22) - 1 : 0;
      const auto moved = p + static_cast<int32_t>((int64_t{target - p} * table.rate[count]) >> 16);
      slot = static_cast<uint32_t>(moved) << 10 | (count < kCountLimit ? count + 1 : count);
    }
    return bit;
  }

 private:
  const Tables& tables_ = tables();
  int32_t rate_;
  uint32_t mask_;
  std::vector<uint32_t> slots_;
  std::vector<int32_t> weights_;
};

}  // namespace tersely::storage
