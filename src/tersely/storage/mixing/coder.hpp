// A binary arithmetic coder: one decision at a time, by the probability that its bit is 1.
//
// Carryless range coding with 32 bits, as in M. Mahoney's lpaq (2007); after G. N. N. Martin, "Range encoding", 1979.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersely/storage/mixing/tables.hpp"

namespace tersely::storage {

class Encoder {
 public:
  static constexpr bool kEncodes = true;

  explicit Encoder(std::vector<uint8_t>& out) : out_(out) {}

  bool operator()(bool bit, uint32_t probability) {
    const uint32_t middle = low_ + static_cast<uint32_t>((uint64_t{high_ - low_} * probability) >> kProbabilityBits);
    (bit ? high_ : low_) = middle + !bit;
    while ((low_ ^ high_) < 1U << 24) {
      out_.push_back(static_cast<uint8_t>(high_ >> 24));
      low_ <<= 8;
      high_ = high_ << 8 | 255;
    }
    return bit;
  }

  /// Writes what the last decisions need.
  void finish() {
    for (int shift = 24; shift >= 0; shift -= 8) out_.push_back(static_cast<uint8_t>(low_ >> shift));
  }

 private:
  std::vector<uint8_t>& out_;
  uint32_t low_ = 0, high_ = UINT32_MAX;
};

/// Reads zeros beyond the end: what was cut off decodes to something of the size that was claimed, and is told then.
class Decoder {
 public:
  static constexpr bool kEncodes = false;

  Decoder(const uint8_t* data, size_t bytes) : at_(data), end_(data + bytes) {
    for (int k = 0; k < 4; ++k) value_ = value_ << 8 | next();
  }

  bool operator()(bool, uint32_t probability) {
    const uint32_t middle = low_ + static_cast<uint32_t>((uint64_t{high_ - low_} * probability) >> kProbabilityBits);
    const bool bit = value_ <= middle;
    high_ = bit ? middle : high_;  // no branch: nobody can predict it
    low_ = bit ? low_ : middle + 1;
    while ((low_ ^ high_) < 1U << 24) {
      low_ <<= 8;
      high_ = high_ << 8 | 255;
      value_ = value_ << 8 | next();
    }
    return bit;
  }

  /// Whether as many bytes were read as there are: an encoder writes just those that a decoder reads.
  [[nodiscard]] bool exact() const { return at_ == end_ && !beyond_; }

 private:
  uint32_t next() {
    beyond_ |= at_ == end_;
    return at_ < end_ ? *at_++ : 0;
  }

  const uint8_t* at_;
  const uint8_t* end_;
  uint32_t low_ = 0, high_ = UINT32_MAX, value_ = 0;
  bool beyond_ = false;
};

}  // namespace tersely::storage
