// Which words there are, up to 256 of them.
#pragma once

#include <cstdint>

namespace tersely {

// Words by open addressing; four places for each word that may come, so that most are found at the first.
class WordMap {
 public:
  static constexpr int kMost = 256;

  // The number of a word, counted as they came; -1 where it is new and there is no room.
  int add(uint32_t word) {
    const unsigned place = find(word);
    if (numbers_[place] == 0) {
      if (size_ == kMost) return -1;
      words_[place] = word;
      order_[size_] = word;
      numbers_[place] = static_cast<uint16_t>(++size_);
    }
    return numbers_[place] - 1;
  }
  int number(uint32_t word) const { return numbers_[find(word)] - 1; }
  int size() const { return size_; }
  uint32_t word(int number) const { return order_[number]; }
  const uint32_t* words() const { return order_; }
  void clear() {
    // Words were put in one after another: taken out from the last one on, each is still found where it is.
    while (size_ > 0) numbers_[find(order_[--size_])] = 0;
  }

 private:
  unsigned find(uint32_t word) const {
    unsigned place = word * 0x9E3779B1u >> 22;
    while (numbers_[place] != 0 && words_[place] != word) place = (place + 1) % 1024;
    return place;
  }

  uint32_t words_[1024] = {};
  uint16_t numbers_[1024] = {};
  uint32_t order_[kMost] = {};
  int size_ = 0;
};

}  // namespace tersely
