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

#include "tersely/storage/mixing/slot.hpp"
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

/// Slots in lines, weights in sets.
class Mixer {
 public:
  /// contexts: how many are mixed. lines: a power of 2, of 2^line_bits slots each. sets: of weights; the caller says at
  /// each bit which one counts.
  Mixer(size_t contexts, size_t lines, uint32_t line_bits, size_t sets, Habits habits)
      : rate_(habits.rate),
        mask_(static_cast<uint32_t>(lines - 1)),
        line_bits_(line_bits),
        slots_((lines << line_bits) / kSlotsTogether + 1, new_slots()),
        weights_(sets * contexts * kBuckets) {
    for (size_t at = 0; at < weights_.size(); ++at) {
      const int64_t n = (int64_t{1} << at % kBuckets) - 1;
      weights_[at] = at / kBuckets % contexts == 0
                         ? 65536
                         : static_cast<int32_t>(65536 * n / (n + habits.doubt) * habits.trust / 100);
    }
  }

  [[nodiscard]] Slot* line(uint32_t hashed) {
    return slots_.data()->slots.data() + (size_t{hashed & mask_} << line_bits_);
  }

  /// Lines of contexts, and what they said of the bit that is being coded.
  template <size_t kMax>
  struct Mixed {
    std::array<Slot*, kMax> lines;
    std::array<Slot, kMax> slots;
    std::array<int32_t, kMax> says;
    std::array<int32_t*, kMax> weights;
    uint32_t probability;
  };

  /// The probability that a bit is 1. count: contexts, as many as were given; `mixed` has their lines, of which `local`
  /// is the slot.
  template <size_t kMax>
  [[gnu::always_inline]] uint32_t predict(Mixed<kMax>& mixed, size_t count, uint32_t local, size_t set) {
    const Tables& table = tables_;
    int32_t* const weights = weights_.data() + set * count * kBuckets;
    mixed.slots[0] = mixed.lines[0][local];
    const int32_t base = table.stretch[mixed.slots[0] >> 20];
    mixed.says[0] = base;
    mixed.weights[0] = weights;
    int64_t sum = int64_t{base} * weights[0];
    for (size_t k = 1; k < count; ++k) {
      mixed.slots[k] = mixed.lines[k][local];
      const uint32_t seen = count_of(mixed.slots[k]);
      mixed.says[k] = table.stretch[mixed.slots[k] >> 20] - base;
      mixed.weights[k] = weights + k * kBuckets + table.bucket[seen];
      sum += int64_t{mixed.says[k]} * *mixed.weights[k];
    }
    const auto at = static_cast<int32_t>(std::clamp<int64_t>(sum >> 16, -kStretchLimit, kStretchLimit));
    return mixed.probability = table.squash[static_cast<size_t>(at + 4096)];
  }

  /// Learns the bit that was predicted.
  template <size_t kMax>
  [[gnu::always_inline]] void learn(const Mixed<kMax>& mixed, size_t count, uint32_t local, bool bit) {
    const int64_t error = ((static_cast<int64_t>(bit) << 16) - mixed.probability) * rate_;
    for (size_t k = 0; k < count; ++k) {
      int32_t& weight = *mixed.weights[k];
      const auto step = static_cast<int32_t>((mixed.says[k] * error + (1 << 17)) >> 18);
      weight = std::clamp(weight + step, -kMaxWeight, kMaxWeight);
      mixed.lines[k][local] = moved(mixed.slots[k], bit, tables_);
    }
  }

  /// Codes one bit.
  template <size_t kMax, class Coder>
  [[gnu::always_inline]] bool code(Coder& coder, bool bit, Mixed<kMax>& mixed, size_t count, uint32_t local,
                                   size_t set) {
    bit = coder(bit, predict(mixed, count, local, set));
    learn(mixed, count, local, bit);
    return bit;
  }

 private:
  // A line is not cut by the end of a cache line.
  static constexpr size_t kSlotsTogether = 16;
  struct alignas(64) Together {
    std::array<Slot, kSlotsTogether> slots;
  };

  static Together new_slots() {
    Together made;
    made.slots.fill(kNewSlot);
    return made;
  }

  const Tables& tables_ = tables();
  int32_t rate_;
  uint32_t mask_;
  uint32_t line_bits_;
  std::vector<Together> slots_;
  std::vector<int32_t> weights_;
};

}  // namespace tersely::storage
