// How a word of a tensor is a symbol, a sign and low bits that are kept as they are.
//
// The symbol is a magnitude: of an integer or of an index of the palette, its distance from the most frequent one; of a
// float, its exponent and its first bits of mantissa, counted from the smallest that occurs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "tersely/storage/mixing/symbol_tree.hpp"

namespace tersely::storage {

enum class WordKind : uint8_t { bytes = 0, integer = 1, palette = 2, floating = 3 };

struct WordForm {
  WordKind kind = WordKind::bytes;
  uint8_t signs = 0;          // which contexts tell a sign, a bit each; 0: signs are bits among the low ones
  uint16_t contexts = 1;      // which tell a symbol, a bit each
  uint32_t depth = 0;         // how many decisions from the root of the tree are mixed
  uint32_t smallest = 0;      // symbol 0 is this magnitude
  std::vector<uint8_t> logs;  // of the counts of symbols
  // integer, palette
  uint32_t zero = 0;  // the integer or index whose magnitude is 0
  std::vector<uint64_t> palette;
  // float
  int word_bits = 0;
  int top = 0;  // bits of mantissa in the symbol
  int mantissa = 0;
  int zeros = 0;     // lowest bits of mantissa that are 0 in every word
  int tail = 0;      // lowest bits that are 0 in many words, which are marked; 0: none are
  int modelled = 0;  // lowest of the low bits, up to 4, that are predicted: arithmetic leaves traces in them

  [[nodiscard]] int low_bits() const { return kind == WordKind::floating ? mantissa - top - zeros : 0; }
};

/// A word, taken apart. plain: a float of exponent 0 and first bits 0 needs to be told from the number 0.
struct Word {
  uint32_t symbol;
  bool negative;
  uint64_t low;
};

class WordSplitter {
 public:
  explicit WordSplitter(const WordForm& form) : form_(form) {
    for (size_t index = 0; index < form.palette.size(); ++index) {
      found_.emplace(form.palette[index], static_cast<uint32_t>(index));
    }
  }

  [[nodiscard]] Word split(uint64_t word) const {
    if (form_.kind == WordKind::floating) {
      const uint64_t magnitude = word & ((uint64_t{1} << (form_.word_bits - 1)) - 1);
      const int below = form_.mantissa - form_.top;
      return {static_cast<uint32_t>(magnitude >> below) - form_.smallest, (word >> (form_.word_bits - 1) & 1) != 0,
              (magnitude & ((uint64_t{1} << below) - 1)) >> form_.zeros};
    }
    if (form_.kind == WordKind::integer) {  // around a circle, so that signed and unsigned bytes are alike
      const uint32_t ahead = (static_cast<uint32_t>(word) - form_.zero) & 255;
      return {(ahead < 128 ? ahead : 256 - ahead) - form_.smallest, ahead >= 128, 0};
    }
    const uint32_t index = found_.at(word);
    const bool negative = index < form_.zero;
    return {(negative ? form_.zero - index : index - form_.zero) - form_.smallest, negative, 0};
  }

  [[nodiscard]] uint64_t join(const Word& word) const {
    const uint32_t magnitude = word.symbol + form_.smallest;
    if (form_.kind == WordKind::floating) {
      const int below = form_.mantissa - form_.top;
      const uint64_t all = uint64_t{magnitude} << below | word.low << form_.zeros;
      return (all & ((uint64_t{1} << (form_.word_bits - 1)) - 1)) | uint64_t{word.negative} << (form_.word_bits - 1);
    }
    const uint32_t index = word.negative ? form_.zero - magnitude : form_.zero + magnitude;
    if (form_.kind == WordKind::integer) return index & 255;
    return form_.palette[index < form_.palette.size() ? index : 0];  // beyond the palette: a damaged stream
  }

  /// Whether a word of this symbol is the number 0 or has a sign.
  [[nodiscard]] bool at_zero(uint32_t symbol) const { return symbol + form_.smallest == 0; }

 private:
  const WordForm& form_;
  std::unordered_map<uint64_t, uint32_t> found_;
};

}  // namespace tersely::storage
