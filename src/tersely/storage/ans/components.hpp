// Readers of a stream's components: coded symbols, and extra bits.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/storage/ans/description.hpp"

namespace tersely::ans {

// Decodes symbols of one stream, by a kernel where lanes are many.
class Symbols {
 public:
  // entries: empty for what has none: then a stream has no states.
  Symbols(const std::vector<uint32_t>& entries, int lanes, const uint8_t* states, const uint8_t* bytes, int64_t words)
      : entries_(entries), lanes_(lanes), bytes_(bytes), left_(words) {
    if (!entries.empty()) std::memcpy(cursor_.states, states, 4 * static_cast<size_t>(lanes));
  }

  // Returns whether there were words for them. count is a multiple of the lanes, but for the last call.
  bool decode(const uint8_t* tables, int64_t count, uint8_t* symbols) {
    if (lanes_ >= kAnsLanes[0]) {
      const int64_t done = whole_steps(tables, count / lanes_, symbols) * lanes_;
      tables += done, symbols += done, count -= done;
    }
    return slowly(tables, count, symbols);
  }

  bool ended() const {
    return left_ == 0 &&
           std::all_of(cursor_.states, cursor_.states + lanes_, [](uint32_t state) { return state == kAnsLowest; });
  }

 private:
  int64_t whole_steps(const uint8_t* tables, int64_t steps, uint8_t* symbols) {
    const int64_t lanes = lanes_;
    const auto& kernel = active_table().ans.decode[lanes == kAnsLanes[1]];
    int64_t done = 0;
    alignas(64) uint16_t last[2 * kAnsMaxLanes] = {};
    while (done < steps) {
      // Behind the last words a step may look, so they are copied; nothing is done with what is read there.
      const bool few = left_ < lanes;
      if (few) std::memcpy(last, bytes_, static_cast<size_t>(2 * left_));
      const uint16_t* const words = few ? last : reinterpret_cast<const uint16_t*>(bytes_);
      cursor_.words = words;
      const uint16_t* end = words + left_ + (few ? lanes : 0);
      const int64_t now =
          kernel(entries_.data(), tables + done * lanes, steps - done, cursor_, end, symbols + done * lanes);
      const int64_t used = cursor_.words - words;
      if (used > left_) {
        left_ = -1;
        return done;
      }
      left_ -= used;
      bytes_ += 2 * used;
      done += now;
      if (now == 0) break;
    }
    return done;
  }

  bool slowly(const uint8_t* tables, int64_t count, uint8_t* symbols) {
    if (left_ < 0) return false;
    for (int64_t i = 0; i < count; ++i) {
      uint32_t& state = cursor_.states[i % lanes_];
      const uint32_t entry = entries_[static_cast<size_t>(tables[i]) << kAnsPrecision | (state & 0xFFF)];
      symbols[i] = static_cast<uint8_t>(entry);
      state = (entry >> kAnsFrequencyShift & 0xFFF) * (state >> kAnsPrecision) + (entry >> kAnsDistanceShift);
      if (state < kAnsLowest) {
        if (--left_ < 0) return false;
        state = state << 16 | static_cast<uint32_t>(bytes_[0]) | static_cast<uint32_t>(bytes_[1]) << 8;
        bytes_ += 2;
      }
    }
    return true;
  }

  const std::vector<uint32_t>& entries_;
  int lanes_;
  AnsCursor cursor_;
  const uint8_t* bytes_;
  int64_t left_;
};

// Extra bits one after another, the lowest first; past the end they are zero.
class Bits {
 public:
  Bits(const uint8_t* at, const uint8_t* end) : at_(at), end_(end) {}
  uint64_t take(int count) {
    if (held_ < count) fill(count);
    const uint64_t out = bits_ & ((uint64_t{1} << count) - 1);
    bits_ >>= count;
    held_ -= count;
    return out;
  }
  bool ended() const { return at_ - held_ / 8 == end_; }

 private:
  void fill(int count) {
    if (end_ - at_ >= 8) {
      uint64_t next;
      std::memcpy(&next, at_, 8);  // little-endian, as the core is
      const int bytes = (63 - held_) / 8;
      bits_ |= (next & ((uint64_t{1} << 8 * bytes) - 1)) << held_;
      at_ += bytes;
      held_ += 8 * bytes;
      return;
    }
    for (; held_ < count; held_ += 8) {
      bits_ |= static_cast<uint64_t>(at_ < end_ ? *at_ : 0) << held_;
      at_ += at_ <= end_;
    }
  }

  const uint8_t *at_, *end_;
  uint64_t bits_ = 0;
  int held_ = 0;
};

}  // namespace tersely::ans
