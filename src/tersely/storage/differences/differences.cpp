#include "tersely/storage/differences/differences.hpp"

#include <array>
#include <cstring>
#include <vector>

namespace tersely::storage {
namespace {

template <class Word>
Word load(const uint8_t* bytes, size_t index) {
  Word word;
  std::memcpy(&word, bytes + index * sizeof(Word), sizeof(Word));
  return word;
}

template <class Word>
void store(uint8_t* bytes, size_t index, Word word) {
  std::memcpy(bytes + index * sizeof(Word), &word, sizeof(Word));
}

// All ones where the highest bit is set.
template <class Word>
Word sign_mask(Word word) {
  return static_cast<Word>(-static_cast<Word>(word >> (sizeof(Word) * 8 - 1)));
}

// Floats in their order as integers modulo 2^bits; the inverse of itself.
template <class Word>
Word ordered(Word word) {
  return static_cast<Word>(word ^ (sign_mask(word) & (static_cast<Word>(~Word{0}) >> 1)));
}

template <class Word>
Word difference(Word word, Word reference) {
  const auto distance = static_cast<Word>(ordered(word) - ordered(reference));
  return static_cast<Word>(static_cast<Word>(distance << 1) ^ sign_mask(distance));
}

template <class Word>
Word undone(Word coded, Word reference) {
  const auto distance = static_cast<Word>((coded >> 1) ^ static_cast<Word>(-static_cast<Word>(coded & 1)));
  return ordered(static_cast<Word>(ordered(reference) + distance));
}

template <class Word>
size_t exponent_of(Word word, FloatBits bits) {
  return static_cast<size_t>(word >> bits.mantissa) & ((size_t{1} << bits.exponent) - 1);
}

// Where each class begins among all differences. It follows from the reference, so no caller can have it wrong.
std::array<size_t, 256> starts_of(const uint8_t* reference, size_t count, FloatBits bits, const uint8_t* classes) {
  std::vector<int64_t> counts(size_t{1} << bits.exponent);
  count_exponents(reference, count, bits, counts.data());
  std::array<size_t, 256> sizes{}, starts{};
  for (size_t exponent = 0; exponent < counts.size(); ++exponent)
    sizes[classes[exponent]] += static_cast<size_t>(counts[exponent]);
  for (size_t k = 1; k < starts.size(); ++k) starts[k] = starts[k - 1] + sizes[k - 1];
  return starts;
}

template <class Use>
void with_word(int word_bytes, Use&& use) {
  if (word_bytes == 2) return use(uint16_t{});
  if (word_bytes == 4) return use(uint32_t{});
  use(uint64_t{});
}

// Calls use(number, place among the differences, word) for each word of the reference.
template <class Use>
void each_place(const uint8_t* reference, size_t count, FloatBits bits, const uint8_t* classes, Use&& use) {
  auto starts = starts_of(reference, count, bits, classes);
  with_word(bits.word_bytes, [&](auto word) {
    using Word = decltype(word);
    for (size_t i = 0; i < count; ++i) {
      const Word near = load<Word>(reference, i);
      use(i, starts[classes[exponent_of(near, bits)]]++, near);
    }
  });
}

}  // namespace

void count_exponents(const uint8_t* words, size_t count, FloatBits bits, int64_t* counts) {
  with_word(bits.word_bytes, [&](auto word) {
    using Word = decltype(word);
    for (size_t i = 0; i < count; ++i) ++counts[exponent_of(load<Word>(words, i), bits)];
  });
}

void split_differences(const uint8_t* words, const uint8_t* reference, size_t count, FloatBits bits,
                       const uint8_t* classes, uint8_t* out) {
  each_place(reference, count, bits, classes, [&]<class Word>(size_t i, size_t at, Word near) {
    store<Word>(out, at, difference<Word>(load<Word>(words, i), near));
  });
}

void join_differences(const uint8_t* differences, const uint8_t* reference, size_t count, FloatBits bits,
                      const uint8_t* classes, uint8_t* out) {
  each_place(reference, count, bits, classes, [&]<class Word>(size_t i, size_t at, Word near) {
    store<Word>(out, i, undone<Word>(load<Word>(differences, at), near));
  });
}

}  // namespace tersely::storage
