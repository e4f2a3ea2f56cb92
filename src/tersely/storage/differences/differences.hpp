// Words of floats as differences from those of a reference, shared out by the reference's exponents.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tersely::storage {

/// How a float lies in its word. word_bytes: 2, 4 or 8.
struct FloatBits {
  int word_bytes;
  int exponent;
  int mantissa;
};

/// Adds up how often each exponent of `count` words occurs. counts: 2^exponent of them.
void count_exponents(const uint8_t* words, size_t count, FloatBits bits, int64_t* counts);

/// Writes each word's difference behind those of its class before it; class follows class. classes: of each exponent.
void split_differences(const uint8_t* words, const uint8_t* reference, size_t count, FloatBits bits,
                       const uint8_t* classes, uint8_t* out);

/// Inverse of `split_differences`: the words from their differences.
void join_differences(const uint8_t* differences, const uint8_t* reference, size_t count, FloatBits bits,
                      const uint8_t* classes, uint8_t* out);

}  // namespace tersely::storage
