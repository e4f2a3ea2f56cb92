// See elias_fano.hpp.
#include "tersely/codes/selection/sparse/elias_fano.hpp"

#include <bit>
#include <cstring>

namespace tersely {

// SAFE BECAUSE: values are fewer than the directory says, and 64 bytes follow the last one's bits.
uint64_t EliasFano::low(uint64_t value) const {
  const uint64_t at = value * static_cast<uint64_t>(s_.low_bits);
  uint64_t bits;
  std::memcpy(&bits, s_.lower + at / 8, 8);
  return bits >> (at % 8) & ((uint64_t{1} << s_.low_bits) - 1);
}

uint64_t EliasFano::word(uint64_t index) const {
  uint64_t bits;
  std::memcpy(&bits, s_.upper + index * 8, 8);
  return bits;
}

void EliasFano::expand(int64_t segment, int64_t chunks, uint64_t* masks) const {
  std::memset(masks, 0, static_cast<size_t>(chunks) * 8);
  const auto positions = static_cast<uint64_t>(chunks * kChunkWeights);
  const uint64_t first = s_.directory[segment], count = s_.directory[segment + 1] - first;
  const uint64_t begin = s_.starts[segment], end = s_.starts[segment + 1];
  uint64_t value = 0;
  for (uint64_t index = begin; index < end; ++index)
    for (uint64_t ones = word(index); ones != 0 && value < count; ones &= ones - 1, ++value) {
      const uint64_t high = (index - begin) * 64 + static_cast<uint64_t>(std::countr_zero(ones)) - value;
      const uint64_t position = high << s_.low_bits | low(first + value);
      if (position < positions) masks[position / 64] |= uint64_t{1} << (position % 64);
    }
}

int64_t EliasFano::find(int64_t segment, int64_t position) const {
  const uint64_t first = s_.directory[segment], count = s_.directory[segment + 1] - first;
  const uint64_t begin = s_.starts[segment], end = s_.starts[segment + 1];
  const uint64_t high = static_cast<uint64_t>(position) >> s_.low_bits;
  const uint64_t wanted = static_cast<uint64_t>(position) & ((uint64_t{1} << s_.low_bits) - 1);
  // Ones that follow the high-th zero belong to this high part; before it are as many zeros, and the values before.
  uint64_t index = begin, zeros = 0;
  for (; index < end; ++index) {
    const auto here = static_cast<uint64_t>(std::popcount(~word(index)));
    if (zeros + here >= high) break;
    zeros += here;
  }
  uint64_t bit = 0;
  for (; index < end && zeros < high; ++bit) zeros += (word(index) >> bit & 1) == 0;
  for (uint64_t at = (index - begin) * 64 + bit; at / 64 < end - begin; ++at) {
    if ((word(begin + at / 64) >> (at % 64) & 1) == 0) return -1;
    const uint64_t value = at - high;
    if (value >= count) return -1;
    if (low(first + value) == wanted) return static_cast<int64_t>(value);
  }
  return -1;
}

}  // namespace tersely
