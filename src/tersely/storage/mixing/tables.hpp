// Tables of the context mixer, made by integers alone: they are part of the format, so every machine has the same.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tersely::storage {

/// Bits of a probability; the coder takes 1 to 65,535 of 65,536.
inline constexpr int kProbabilityBits = 16;
/// The logistic domain: 256 steps are 0.75 nats.
inline constexpr int kStretchLimit = 4095;
/// Counts of a slot end here: what came long ago weighs as much as what comes now.
inline constexpr uint32_t kCountLimit = 1000;
inline constexpr size_t kBuckets = 12;

struct Tables {
  /// squash[t + 4096]: 65,536 / (1 + exp(-0.75 t / 256)).
  std::array<uint16_t, 8192> squash;
  /// stretch[p]: the first t whose squash reaches 16 p + 8, within +-2,047.
  std::array<int16_t, 4096> stretch;
  /// 65,536 / (n + 1.6): how far a slot that was seen n times moves.
  std::array<uint32_t, 1024> rate;
  /// The number of bits of a count: what weights of the mixer are told apart by.
  std::array<uint8_t, 1024> bucket;
};

const Tables& tables();

}  // namespace tersely::storage
