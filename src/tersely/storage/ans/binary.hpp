// The coder of side information: binary decisions with adaptive probabilities; see binary.py, whose bytes it writes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersely::ans {

inline constexpr int kKinds = 14, kContextsPerKind = 64;
inline constexpr int kMaxBits = 63;

// What `Writer` and `Reader` share; Self::decide(probability, value) codes a decision.
template <class Self>
class BinaryCoder {
 public:
  int bit(int context, int value = 0) {
    uint16_t (&estimates)[2] = estimates_[context];
    value = self().decide((estimates[0] + estimates[1]) >> 1, value);
    // Towards 0xFFFF or 0 is the same, mirrored; without a branch, which nothing could foresee.
    const int mirrored = value ? 0xFFFF : 0;
    for (const int which : {0, 1}) {
      const int estimate = estimates[which] ^ mirrored;
      estimates[which] = static_cast<uint16_t>((estimate - (estimate >> (which == 0 ? 4 : 7))) ^ mirrored);
    }
    return value;
  }
  uint64_t direct(int count, uint64_t value = 0) {
    uint64_t out = 0;
    for (int place = count - 1; place >= 0; --place)
      out = out << 1 | static_cast<unsigned>(self().decide(1 << 15, static_cast<int>(value >> place & 1)));
    return out;
  }
  uint64_t number(int kind, uint64_t value = 0) {
    const int wanted = 63 - std::countl_zero(value + 1);
    int bits = 0;
    while (bit(kind * kContextsPerKind + bits, bits < wanted))
      if (++bits == kMaxBits) {
        failed_ = true;
        return 0;
      }
    return (uint64_t{1} << bits | direct(bits, value + 1)) - 1;
  }
  int tree(int kind, int bits, int value = 0) {
    int node = 1;
    for (int place = bits - 1; place >= 0; --place)
      node = node << 1 | bit(kind * kContextsPerKind + node, value >> place & 1);
    return node - (1 << bits);
  }
  // Whether a number was too long, or more was read than there is.
  bool failed() const { return failed_; }

 protected:
  uint32_t middle(int probability) const {
    const uint32_t inside = static_cast<uint32_t>(probability < 32            ? 32
                                                  : probability > 0xFFFF - 32 ? 0xFFFF - 32
                                                                              : probability);
    return low_ + ((high_ - low_) >> 16) * inside;
  }
  void narrow(uint32_t middle, int value) {
    high_ = value ? middle : high_;
    low_ = value ? low_ : middle + 1;
  }

  uint32_t low_ = 0, high_ = 0xFFFFFFFF;
  bool failed_ = false;

 private:
  struct Estimates {
    uint16_t all[kKinds * kContextsPerKind][2];
    Estimates() {
      for (auto& one : all) one[0] = one[1] = 1 << 15;
    }
    auto& operator[](int context) { return all[context]; }
  };
  Self& self() { return static_cast<Self&>(*this); }
  Estimates estimates_;
};

class Writer : public BinaryCoder<Writer> {
 public:
  static constexpr bool kReading = false;
  int decide(int probability, int value) {
    narrow(middle(probability), value);
    for (; ((low_ ^ high_) >> 24) == 0; low_ <<= 8, high_ = high_ << 8 | 0xFF)
      out_.push_back(static_cast<uint8_t>(high_ >> 24));
    return value;
  }
  // The bytes; the writer is of no use afterwards.
  std::vector<uint8_t> finish() {
    for (int size = 0; size < 5; ++size) {
      const int place = 32 - 8 * size;
      const uint64_t end = ((static_cast<uint64_t>(low_) + (uint64_t{1} << place) - 1) >> place) << place;
      if (end > high_) continue;
      for (int i = 0; i < size; ++i) out_.push_back(static_cast<uint8_t>(end >> (24 - 8 * i)));
      break;
    }
    return std::move(out_);
  }

 private:
  std::vector<uint8_t> out_;
};

class Reader : public BinaryCoder<Reader> {
 public:
  static constexpr bool kReading = true;
  Reader(const uint8_t* data, size_t size) : data_(data), size_(size) {
    for (int i = 0; i < 4; ++i) code_ = code_ << 8 | next();
  }
  int decide(int probability, int) {
    const uint32_t limit = middle(probability);
    const int value = code_ <= limit;
    narrow(limit, value);
    for (; ((low_ ^ high_) >> 24) == 0; low_ <<= 8, high_ = high_ << 8 | 0xFF) code_ = code_ << 8 | next();
    return value;
  }
  bool all_read() const { return at_ >= size_; }

 private:
  static constexpr size_t kSpare = 4;
  uint32_t next() {
    if (++at_ <= size_) return data_[at_ - 1];
    if (at_ > size_ + kSpare) failed_ = true;
    return 0;
  }
  const uint8_t* data_;
  size_t size_, at_ = 0;
  uint32_t code_ = 0;
};

}  // namespace tersely::ans
