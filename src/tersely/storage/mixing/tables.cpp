#include "tersely/storage/mixing/tables.hpp"

#include <algorithm>
#include <bit>

namespace tersely::storage {

namespace {

// exp(-0.75 / 256) in 2^-62: the one constant of the logistic function.
constexpr uint64_t kStep = 4598194991441371038ULL;
constexpr uint64_t kOne = 1ULL << 62;

Tables make() {
  Tables made{};
  uint64_t power = kOne;  // exp(-0.75 t / 256)
  for (size_t t = 0; t <= 4096; ++t) {
    const auto p = static_cast<uint64_t>((static_cast<unsigned __int128>(kOne) << kProbabilityBits) / (kOne + power));
    const auto high = static_cast<uint16_t>(std::clamp<uint64_t>(p, 16, 65520));
    if (t < 4096) made.squash[4096 + t] = high;
    made.squash[4096 - t] = static_cast<uint16_t>(65536 - high);
    power = static_cast<uint64_t>((static_cast<unsigned __int128>(power) * kStep) >> 62);
  }
  size_t t = 0;
  for (size_t p = 0; p < 4096; ++p) {
    while (t < 8191 && made.squash[t] < 16 * p + 8) ++t;
    made.stretch[p] = static_cast<int16_t>(std::clamp<int>(static_cast<int>(t) - 4096, -2047, 2047));
  }
  for (uint32_t n = 0; n < 1024; ++n) {
    made.rate[n] = 655360 / (10 * n + 16);
    made.bucket[n] = static_cast<uint8_t>(std::min<size_t>(kBuckets - 1, std::bit_width(n)));
  }
  return made;
}

}  // namespace

const Tables& tables() {
  static const Tables made = make();
  return made;
}

}  // namespace tersely::storage
