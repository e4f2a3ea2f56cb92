// A binary arithmetic coder: one decision at a time, by the probability that its bit is 1.
//
// Range coding with 64 bits, of which 32 leave at a time: rarely enough that a processor guesses the branch right.
// After G. N. N. Martin, "Range encoding", 1979; the carry goes into words that are written, as in I. Pavlov's LZMA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersely/storage/mixing/tables.hpp"

namespace tersely::storage {

inline constexpr size_t kCoderWord = 4;
inline constexpr uint64_t kMinRange = uint64_t{1} << 32;

class Encoder {
 public:
  static constexpr bool kEncodes = true;

  explicit Encoder(std::vector<uint8_t>& out) : out_(&out) {}

  [[gnu::always_inline]] bool operator()(bool bit, uint32_t probability) {
    const uint64_t bound = (range_ >> kProbabilityBits) * probability;
    const uint64_t if_0 = uint64_t{bit} - 1;  // no branch: nobody can predict it
    add(bound & if_0);
    range_ = bound + ((range_ - 2 * bound) & if_0);
    if (range_ < kMinRange) [[unlikely]] {
      word();
      range_ <<= 32;
    }
    return bit;
  }

  /// Writes what the last decisions need: a multiple of 2^32 that is within the range.
  void finish() {
    add(kMinRange - 1);
    word();
  }

 private:
  // A carry never leaves the words of this coder: all that is written is a part of a number below 1.
  void add(uint64_t much) {
    low_ += much;
    if (low_ < much)
      for (size_t at = out_->size(); ++(*out_)[--at] == 0;) {
      }
  }

  void word() {
    for (int shift = 56; shift >= 32; shift -= 8) out_->push_back(static_cast<uint8_t>(low_ >> shift));
    low_ <<= 32;
  }

  std::vector<uint8_t>* out_;
  uint64_t low_ = 0, range_ = UINT64_MAX;
};

/// Reads zeros beyond the end: what was cut off decodes to something of the size that was claimed, and is told then.
class Decoder {
 public:
  static constexpr bool kEncodes = false;

  Decoder(const uint8_t* data, size_t bytes) : at_(data), end_(data + bytes) {
    value_ = next();
    value_ = value_ << 32 | next();
  }

  [[gnu::always_inline]] bool operator()(bool, uint32_t probability) {
    const uint64_t bound = (range_ >> kProbabilityBits) * probability;
    const bool bit = value_ < bound;
    const uint64_t if_0 = uint64_t{bit} - 1;
    value_ -= bound & if_0;
    range_ = bound + ((range_ - 2 * bound) & if_0);
    if (range_ < kMinRange) [[unlikely]] {
      range_ <<= 32;
      value_ = value_ << 32 | next();
    }
    return bit;
  }

  /// Whether all words were read and one beyond them, which an encoder leaves out as it is 0.
  [[nodiscard]] bool exact() const { return at_ == end_ && beyond_ == 1; }

 private:
  uint64_t next() {
    if (static_cast<size_t>(end_ - at_) < kCoderWord) {
      ++beyond_;
      return 0;
    }
    const uint64_t word = uint64_t{at_[0]} << 24 | uint64_t{at_[1]} << 16 | uint64_t{at_[2]} << 8 | uint64_t{at_[3]};
    at_ += kCoderWord;
    return word;
  }

  const uint8_t* at_;
  const uint8_t* end_;
  uint64_t range_ = UINT64_MAX, value_ = 0;
  uint64_t beyond_ = 0;
};

}  // namespace tersely::storage
