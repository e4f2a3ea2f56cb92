// The model of bytes: text of headers, small tensors, tables. One for a block, so that what comes later learns from it.
//
// A byte is guessed first, where guesses were right before: what followed the same three bytes the last time, or in
// numbers the byte at its place in the one before. One decision says whether it is that byte; others take eight.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersely/storage/mixing/mixer.hpp"

namespace tersely::storage {

class BytesModel {
 public:
  /// bytes: about how many are to come.
  explicit BytesModel(size_t bytes)
      : mixer_(kContexts, lines_for(bytes), 4, size_t{16} * 8, {1, 25, 12}),
        guesses_(kGuessContexts, 1 << 14, 0, 2, {1, 25, 12}),
        followed_(1 << 14) {
    seen_.reserve(bytes);
    right_.fill(kNewSlot);
  }

  /// Codes bytes of items of one size (1, 2, 4, 8: of what each number takes). data is read or written.
  template <class Coder>
  void code(Coder& coder, uint8_t* data, size_t bytes, uint32_t item) {
    Coder own = coder;  // in registers
    for (size_t k = 0; k < bytes; ++k) {
      const uint8_t byte = one(own, data[k], static_cast<uint32_t>(k % item), item);
      if constexpr (!Coder::kEncodes) data[k] = byte;  // what is encoded may be a file, mapped to be read
    }
    coder = own;
  }

 private:
  static constexpr size_t kContexts = 6, kGuessContexts = 3;
  static constexpr Slot kOften = 3U << 30, kOftenInText = 1U << 31;  // guesses are tried from 3 / 4 and 1 / 2 on

  static size_t lines_for(size_t bytes) {
    size_t lines = 1 << 10;
    while (lines < bytes * 8 && lines < 1 << 17) lines *= 2;
    return lines;
  }

  [[nodiscard]] uint32_t back(size_t distance) const {
    return seen_.size() < distance ? 0 : seen_[seen_.size() - distance];
  }

  template <class Coder>
  [[gnu::always_inline]] uint8_t one(Coder& coder, uint8_t byte, uint32_t place, uint32_t item) {
    const uint32_t kind = item * 16 + place;
    const uint32_t b3s = back(1) << 16 | back(2) << 8 | back(3);
    uint8_t& followed = followed_[hash(1, b3s) & (followed_.size() - 1)];
    const auto guess = static_cast<uint8_t>(item == 1 ? followed : back(item));
    Slot& right = right_[kind];
    bool found = false;
    if (right >= (item == 1 ? kOftenInText : kOften)) {
      Mixer::Mixed<kGuessContexts> mixed;
      mixed.lines[0] = guesses_.line(hash(1, kind, run_));
      mixed.lines[1] = guesses_.line(hash(2, kind, guess));
      mixed.lines[2] = guesses_.line(hash(3, back(1) << 8 | back(2), guess));
      found = guesses_.code(coder, byte == guess, mixed, kGuessContexts, 0, item > 1);
    }
    byte = found ? guess : bits(coder, byte, b3s, place, item);
    right = moved(right, byte == guess, tables_);
    run_ = byte == guess ? std::min<uint32_t>(run_ + 1, 31) : 0;
    followed = byte;
    seen_.push_back(byte);
    return byte;
  }

  template <class Coder>
  [[gnu::always_inline]] uint8_t bits(Coder& coder, uint8_t byte, uint32_t b3s, uint32_t place, uint32_t item) {
    const uint32_t kind = item * 16 + place, same = back(item);
    const std::array<uint32_t, kContexts> contexts = {
        hash(1, kind),
        hash(2, back(1), kind),
        hash(3, b3s),
        hash(4, same, kind),
        hash(5, same << 8 | back(size_t{2} * item), kind),
        hash(6, b3s, back(4) << 16 | back(5) << 8 | back(6)),
    };
    Mixer::Mixed<kContexts> mixed;
    const size_t set = size_t{item} * 8 % 128 + place;
    uint32_t node = 1;
    for (int half = 0; half < 2; ++half) {
      for (size_t k = 0; k < kContexts; ++k)
        mixed.lines[k] = mixer_.line(half == 0 ? contexts[k] : hash(contexts[k], node));
      uint32_t local = 1;
      for (int bit = 3; bit >= 0; --bit) {
        const int shift = bit + (half == 0 ? 4 : 0);
        const bool coded = mixer_.code(coder, (byte >> shift & 1) != 0, mixed, kContexts, local, set);
        local = local * 2 + coded;
        node = node * 2 + coded;
      }
    }
    return static_cast<uint8_t>(node);
  }

  const Tables& tables_ = tables();
  Mixer mixer_;
  Mixer guesses_;
  std::vector<uint8_t> followed_;  // what came after three bytes, by their hash
  std::array<Slot, 256> right_;    // how often the guess was right, of each kind
  uint32_t run_ = 0;               // of right guesses
  std::vector<uint8_t> seen_;
};

}  // namespace tersely::storage
