// Logarithms as integers (logarithm.py): what is chosen by them is the same on every machine.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace tersely::ans {

inline constexpr int64_t kOne = 1 << 16;  // a bit: sizes that are compared count in parts of it

namespace logarithm {

inline constexpr int kPlaces = 24, kSteps = 11, kFiner = 16;

// log2(1 + i / 2^11), a bit of it by each squaring.
inline constexpr auto kTable = [] {
  std::array<int32_t, (1 << kSteps) + 1> out{};
  for (uint64_t i = 0; i < out.size(); ++i) {
    uint64_t x = (uint64_t{1} << 31) + (i << (31 - kSteps));
    uint64_t log = x >> 32;
    x >>= log;
    for (int place = 0; place < kPlaces; ++place) {
      x = x * x >> 31;
      log = log << 1 | x >> 32;
      x >>= x >> 32;
    }
    out[i] = static_cast<int32_t>(log);
  }
  return out;
}();

}  // namespace logarithm

// Of an integer, at most 2^40, in parts of a bit; 0 for 0.
inline int64_t log2_of(int64_t number) {
  using namespace logarithm;
  if (number <= 1) return 0;
  const int exponent = std::bit_width(static_cast<uint64_t>(number)) - 1;
  const uint64_t mantissa = static_cast<uint64_t>(number) << (63 - exponent);
  const auto index = static_cast<size_t>(mantissa >> (63 - kSteps) & ((1 << kSteps) - 1));
  const auto rest = static_cast<int64_t>(mantissa >> (63 - kSteps - kFiner) & ((1 << kFiner) - 1));
  const int64_t between = kTable[index] + ((kTable[index + 1] - kTable[index]) * rest >> kFiner);
  return exponent * kOne + (between >> (kPlaces - 16));
}

// Bits of symbols that occur so often, [tables][stride] of which `symbols` are some, under their own frequencies.
template <class Count>
int64_t entropy_of(const Count* counts, int64_t tables, int64_t stride, int64_t symbols) {
  int64_t bits = 0;
  for (int64_t table = 0; table < tables; ++table, counts += stride) {
    int64_t total = 0;
    for (int64_t i = 0; i < symbols; ++i) {
      const auto count = static_cast<int64_t>(counts[i]);
      total += count;
      bits -= count * log2_of(count);
    }
    bits += total * log2_of(total);
  }
  return bits;
}

}  // namespace tersely::ans
