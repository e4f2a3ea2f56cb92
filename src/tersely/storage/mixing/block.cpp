#include "tersely/storage/mixing/block.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include "tersely/storage/mixing/bits.hpp"
#include "tersely/storage/mixing/bytes_model.hpp"
#include "tersely/storage/mixing/coder.hpp"

namespace tersely::storage {

namespace {

constexpr size_t kMaxPalette = kMaxSymbols;
constexpr size_t kLengthBytes = 8;

uint64_t load_word(const uint8_t* data, uint32_t bytes) {
  uint64_t word = 0;
  std::memcpy(&word, data, bytes);
  return word;
}

// Reads a form from bytes that are given (a side) or decoded one by one; `next(count)` appends so many of them.
template <class Next>
std::string parse(const MixedItem& item, Next&& next, WordForm& form) {
  std::vector<uint8_t> side;
  const auto number = [&](size_t bytes) {
    const size_t at = side.size();
    next(side, bytes);
    return load_word(side.data() + at, static_cast<uint32_t>(bytes));
  };
  const uint64_t kind = number(1);
  if (kind > 3) return "an unknown kind of words";
  form.kind = static_cast<WordKind>(kind);
  if (form.kind == WordKind::bytes) return "";
  if (form.kind == WordKind::integer && item.word_bytes != 1) return "integers of more than a byte";
  if (form.kind == WordKind::floating && item.exponent == 0) return "a float's form for what is none";
  form.signs = static_cast<uint8_t>(number(1));
  if (form.signs >> kSignContexts != 0 || (form.signs != 0 && (form.signs & 1) == 0))
    return "unknown contexts of signs";
  form.contexts = static_cast<uint16_t>((number(2) & ((1U << kWordContexts) - 1)) | 1);
  if (std::popcount(form.contexts) > static_cast<int>(kMaxChosen)) return "more contexts than a form may have";
  form.depth = static_cast<uint32_t>(number(1));
  form.smallest = static_cast<uint32_t>(number(2));
  const size_t symbols = number(2);
  if (symbols == 0 || symbols > kMaxSymbols) return "too many symbols, or none";
  const size_t begin = side.size();
  next(side, (symbols + 1) / 2);
  for (size_t k = 0; k < symbols; ++k) form.logs.push_back(side[begin + k / 2] >> (k % 2 * 4) & 15);
  if (std::accumulate(form.logs.begin(), form.logs.end(), 0) == 0) return "no symbol has a count";
  form.word_bits = static_cast<int>(item.word_bytes * 8);
  if (form.kind == WordKind::floating) {
    form.mantissa = item.mantissa;
    form.top = static_cast<int>(number(1));
    form.zeros = static_cast<int>(number(1));
    form.tail = static_cast<int>(number(1));
    form.modelled = static_cast<int>(number(1));
    const int below = form.mantissa - form.top;
    if (below < 0 || form.zeros > below || form.tail > below || (form.tail != 0 && form.tail <= form.zeros) ||
        form.modelled > std::min(4, below - form.zeros))
      return "bits of mantissa that do not fit the dtype";
    return "";
  }
  form.zero = static_cast<uint32_t>(number(2));
  if (form.kind == WordKind::integer) return form.zero < 256 ? "" : "a zero beyond 8 bits";
  const size_t words = number(2);
  if (words == 0 || words > kMaxPalette || form.zero >= words) return "a palette that does not fit";
  const size_t table = side.size();
  next(side, words * item.word_bytes);
  for (size_t k = 0; k < words; ++k)
    form.palette.push_back(load_word(side.data() + table + k * item.word_bytes, item.word_bytes));
  return "";
}

size_t total_bytes(const std::vector<MixedItem>& items) {
  size_t total = 0;
  for (const MixedItem& item : items) total += item.bytes;
  return total;
}

template <size_t kContexts, class Coder, class Bits>
void code_with(const MixedItem& item, const WordForm& form, Coder& coder, Bits& low) {
  WordsModel<kContexts> model(form, item.axes);
  const uint32_t bytes = item.word_bytes;
  model.code(
      coder, low, [&](size_t k) { return load_word(item.data + k * bytes, bytes); },
      [&](size_t k, uint64_t word) {
        if constexpr (!Coder::kEncodes) std::memcpy(item.data + k * bytes, &word, bytes);
      });
}

template <class Coder, class Bits>
void code_words(const MixedItem& item, const WordForm& form, Coder& coder, Bits& low) {
  const auto chosen = static_cast<size_t>(std::popcount(form.contexts));
  [&]<size_t... kLess>(std::index_sequence<kLess...>) {
    ((chosen == kLess + 1 ? code_with<kLess + 1>(item, form, coder, low) : void()), ...);
  }(std::make_index_sequence<kMaxChosen>());
}

}  // namespace

std::string encode_mixed(const std::vector<MixedItem>& items, const std::vector<std::vector<uint8_t>>& sides,
                         std::vector<uint8_t>& out) {
  const size_t begin = out.size();
  out.resize(begin + kLengthBytes);
  std::vector<uint8_t> low_bytes;
  Encoder coder(out);
  BitWriter low(low_bytes);
  BytesModel bytes_model(total_bytes(items));
  for (size_t k = 0; k < items.size(); ++k) {
    const std::vector<uint8_t>& side = sides[k];
    size_t at = 0;
    bool short_side = false;
    WordForm form;
    const auto next = [&](std::vector<uint8_t>& read, size_t count) {
      for (size_t n = 0; n < count; ++n) {
        short_side |= at == side.size();
        uint8_t byte = at < side.size() ? side[at++] : uint8_t{0};
        bytes_model.code(coder, &byte, 1, 1);
        read.push_back(byte);
      }
    };
    if (std::string wrong = parse(items[k], next, form); !wrong.empty()) return wrong;
    if (short_side || at != side.size()) return "a side of another length";
    if (form.kind == WordKind::bytes)
      bytes_model.code(coder, items[k].data, items[k].bytes, items[k].word_bytes);
    else
      code_words(items[k], form, coder, low);
  }
  coder.finish();
  low.finish();
  const uint64_t coded = out.size() - begin - kLengthBytes;
  std::memcpy(out.data() + begin, &coded, kLengthBytes);
  out.insert(out.end(), low_bytes.begin(), low_bytes.end());
  return "";
}

std::string decode_mixed(const uint8_t* data, size_t bytes, const std::vector<MixedItem>& items) {
  if (bytes < kLengthBytes) return "a block of fewer bytes than its length has";
  const uint64_t coded = load_word(data, kLengthBytes);
  if (coded > bytes - kLengthBytes) return "a block that is cut short";
  Decoder coder(data + kLengthBytes, coded);
  BitReader low(data + kLengthBytes + coded, bytes - kLengthBytes - coded);
  BytesModel bytes_model(total_bytes(items));
  for (const MixedItem& item : items) {
    WordForm form;
    const auto next = [&](std::vector<uint8_t>& read, size_t count) {
      for (size_t n = 0; n < count; ++n) {
        uint8_t byte = 0;
        bytes_model.code(coder, &byte, 1, 1);
        read.push_back(byte);
      }
    };
    if (std::string wrong = parse(item, next, form); !wrong.empty()) return wrong;
    if (form.kind == WordKind::bytes)
      bytes_model.code(coder, item.data, item.bytes, item.word_bytes);
    else
      code_words(item, form, coder, low);
  }
  return coder.exact() && low.exact() ? "" : "a block that is cut short, or that holds more than its tensors";
}

}  // namespace tersely::storage
