// Bits that are kept as they are, lowest first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersely::storage {

class BitWriter {
 public:
  explicit BitWriter(std::vector<uint8_t>& out) : out_(&out) {}

  /// Up to 56 bits; returns the value.
  uint64_t bits(uint64_t value, int count) {
    held_ |= value << have_;
    have_ += count;
    for (; have_ >= 8; have_ -= 8, held_ >>= 8) out_->push_back(static_cast<uint8_t>(held_));
    return value;
  }

  void finish() {
    if (have_ > 0) out_->push_back(static_cast<uint8_t>(held_));
    have_ = 0;
  }

 private:
  std::vector<uint8_t>* out_;
  uint64_t held_ = 0;
  int have_ = 0;
};

/// Reads zeros beyond the end.
class BitReader {
 public:
  BitReader(const uint8_t* data, size_t bytes) : at_(data), end_(data + bytes) {}

  uint64_t bits(uint64_t, int count) {
    for (; have_ < count; have_ += 8) {
      beyond_ |= at_ == end_;
      held_ |= uint64_t{at_ < end_ ? *at_++ : uint8_t{0}} << have_;
    }
    const uint64_t value = held_ & ((uint64_t{1} << count) - 1);
    held_ >>= count;
    have_ -= count;
    return value;
  }

  /// Whether all was read, nothing beyond it, and what fills the last byte is zeros.
  [[nodiscard]] bool exact() const { return at_ == end_ && !beyond_ && held_ == 0; }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
  uint64_t held_ = 0;
  int have_ = 0;
  bool beyond_ = false;
};

}  // namespace tersely::storage
