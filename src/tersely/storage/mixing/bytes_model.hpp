// The model of bytes: text of headers, small tensors, tables. One for a block, so that what comes later learns from it.
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
  explicit BytesModel(size_t bytes) : mixer_(lines_for(bytes), size_t{16} * 8, {1, 25, 12}) { seen_.reserve(bytes); }

  /// Codes bytes of items of one size (1, 2, 4, 8: of what each number takes). data is read or written.
  template <class Coder>
  void code(Coder& coder, uint8_t* data, size_t bytes, uint32_t item) {
    for (size_t k = 0; k < bytes; ++k) {
      const uint8_t byte = one(coder, data[k], static_cast<uint32_t>(k % item), item);
      if constexpr (!Coder::kEncodes) data[k] = byte;  // what is encoded may be a file, mapped to be read
    }
  }

 private:
  static constexpr size_t kContexts = 10;

  static size_t lines_for(size_t bytes) {
    size_t lines = 1 << 10;
    while (lines < bytes * 8 && lines < 1 << 17) lines *= 2;
    return lines;
  }

  [[nodiscard]] uint32_t back(size_t distance) const {
    return seen_.size() < distance ? 0 : seen_[seen_.size() - distance];
  }

  template <class Coder>
  uint8_t one(Coder& coder, uint8_t byte, uint32_t place, uint32_t item) {
    const uint32_t kind = item * 16 + place;
    const uint32_t b1 = back(1), b2 = back(2), b3 = back(3), same = back(item), before = back(size_t{2} * item);
    const uint32_t b3s = b1 << 16 | b2 << 8 | b3;
    const std::array<uint32_t, kContexts> contexts = {
        hash(1, kind),
        hash(2, b1, kind),
        hash(3, b1 << 8 | b2, kind),
        hash(4, b3s),
        hash(5, same, kind),
        hash(6, same << 8 | before, kind),
        hash(7, same << 8 | b1, kind),
        hash(8, back(4) << 24 | b3s, place),
        hash(9, b3s, back(4) << 16 | back(5) << 8 | back(6)),
        hash(10, same << 16 | back(size_t{2} * item - 1) << 8 | b1, kind),
    };
    std::array<uint32_t*, kContexts> lines;
    const size_t set = size_t{item} * 8 % 128 + place;
    uint32_t node = 1;
    for (int half = 0; half < 2; ++half) {
      for (size_t k = 0; k < kContexts; ++k) lines[k] = mixer_.line(half == 0 ? contexts[k] : hash(contexts[k], node));
      uint32_t local = 1;
      for (int bit = 3; bit >= 0; --bit) {
        const int shift = bit + (half == 0 ? 4 : 0);
        const bool coded = mixer_.code(coder, (byte >> shift & 1) != 0, lines.data(), local, set);
        local = local * 2 + coded;
        node = node * 2 + coded;
      }
    }
    byte = static_cast<uint8_t>(node);
    seen_.push_back(byte);
    return byte;
  }

  Mixer<kContexts> mixer_;
  std::vector<uint8_t> seen_;
};

}  // namespace tersely::storage
