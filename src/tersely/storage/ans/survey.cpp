// See survey.hpp.
#include "tersely/storage/ans/survey.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <mutex>
#include <utility>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/storage/ans/logarithm.hpp"

namespace tersely::ans {
namespace {

constexpr int64_t kPart = 1 << 16;

// Calls f(first, end) for parts of `count` words on workers.
template <class F>
void for_parts(int64_t count, int threads, F&& f, int64_t size = kPart) {
  parallel_for(threads, (count + size - 1) / size,
               [&](int64_t part) { f(part * size, std::min(count, (part + 1) * size)); });
}

// Calls f(typed words, whether they are rotated as a constant).
template <class F>
void by_type(const uint8_t* words, WordType type, F&& f) {
  const auto of = [&](auto zero) {
    const auto at = [words](int64_t i) {
      decltype(zero) word;
      std::memcpy(&word, words + i * static_cast<int64_t>(sizeof word), sizeof word);
      return word;
    };
    if (type.rotated)
      f(at, std::true_type());
    else
      f(at, std::false_type());
  };
  if (type.bytes == 1) return of(uint8_t{0});
  if (type.bytes == 2) return of(uint16_t{0});
  if (type.bytes == 4) return of(uint32_t{0});
  of(uint64_t{0});
}

template <bool Rotated, class Word>
Word cut(Word word, int trim) {
  if constexpr (!Rotated) return static_cast<Word>(word >> trim);
  constexpr int kTop = 8 * sizeof(Word) - 1;
  return static_cast<Word>(static_cast<Word>(static_cast<Word>(word << 1) >> 1 >> trim) << 1 | word >> kTop);
}

// The head of a word's value in one shift, where it has raw bits: the sign of a rotated word is one of them.
template <bool Rotated, class Word>
struct HeadOf {
  HeadOf(int trim, int raw)
      : mask(static_cast<Word>(Rotated ? static_cast<Word>(~Word{0}) >> 1 : ~Word{0})), shift(trim + raw - Rotated) {
    if (shift == 8 * sizeof(Word)) mask = 0, shift = 0;  // all bits are raw
  }
  size_t operator()(Word word) const { return static_cast<size_t>(static_cast<Word>(word & mask) >> shift); }
  Word mask;
  int shift;
};
template <class Word>
struct WholeOf {
  size_t operator()(Word word) const { return static_cast<size_t>(cut<true>(word, trim)); }
  int trim;
};

// Calls f(typed words, head of a word, words below are of value 0).
template <class F>
void by_head_of(const uint8_t* words, WordType type, int trim, int raw, F&& f) {
  by_type(words, type, [&](auto at, auto rotated) {
    using Word = decltype(at(0));
    const auto limit = static_cast<Word>(Word{1} << trim);
    if constexpr (decltype(rotated)::value)
      if (raw == 0) return f(at, WholeOf<Word>{trim}, limit);
    f(at, HeadOf<decltype(rotated)::value, Word>(trim, raw), limit);
  });
}

// Numbers that have been seen.
class NumberSet {
 public:
  // most: so many may be added.
  explicit NumberSet(int64_t most) : bits_(std::bit_width(static_cast<uint64_t>(most)) + 1) {
    slots_.resize(size_t{1} << bits_);
  }
  // Whether it is a new one.
  bool add(uint64_t number) {
    if (number == 0) return !std::exchange(zero_, true);
    size_t at = static_cast<size_t>(number * 0xD6E8FEB86659FD93 >> (64 - bits_));
    for (; slots_[at] != 0; at = (at + 1) & (slots_.size() - 1))
      if (slots_[at] == number) return false;
    slots_[at] = number;
    return true;
  }

 private:
  int bits_;
  bool zero_ = false;
  std::vector<uint64_t> slots_;
};

}  // namespace

int64_t count_heads(const uint8_t* words, int64_t count, WordType type, int trim, int raw, int64_t heads,
                    uint32_t* counts, int threads) {
  std::atomic<int64_t> zeros{0};
  std::mutex adding;
  by_head_of(words, type, trim, raw, [&](auto at, auto head, auto limit) {
    // As many counters are set to zero and added as there are heads: that is little for a part of many more words.
    const int64_t size = std::max(kPart, 32 * heads);
    const auto part = [&, at, head, limit](int64_t first, int64_t end) {
      // Counters by turns: runs of one head would wait for each other.
      constexpr int64_t kTurns = 4;
      std::vector<uint32_t> own(static_cast<size_t>(kTurns * heads));
      uint32_t* const by_turn[kTurns] = {own.data(), own.data() + heads, own.data() + 2 * heads,
                                         own.data() + 3 * heads};
      int64_t i = first;
      for (; i + kTurns <= end; i += kTurns) {
        ++by_turn[0][head(at(i))];
        ++by_turn[1][head(at(i + 1))];
        ++by_turn[2][head(at(i + 2))];
        ++by_turn[3][head(at(i + 3))];
      }
      for (; i < end; ++i) ++by_turn[0][head(at(i))];
      int64_t none = 0;  // of head 0, which few words have
      if (by_turn[0][0] + by_turn[1][0] + by_turn[2][0] + by_turn[3][0] > 0)
        for (i = first; i < end; ++i) none += at(i) < limit;
      zeros += none;
      const std::lock_guard<std::mutex> lock(adding);
      for (int64_t head = 0; head < heads; ++head)
        for (const uint32_t* some : by_turn) counts[head] += some[head];
    };
    for_parts(count, threads, part, size);
  });
  return zeros;
}

void count_lowest(const uint8_t* words, int64_t count, WordType type, int trim, int bits, bool nonzero,
                  uint32_t* counts, int threads) {
  std::mutex adding;
  const unsigned mask = (1u << bits) - 1;
  by_type(words, type, [&](auto at, auto rotated) {
    for_parts(count, threads, [&, trim, mask](int64_t first, int64_t end) {
      uint32_t own[2][256] = {};
      int64_t none = 0;
      const auto add = [&, at](int64_t i, uint32_t* counters) {
        const auto value = cut<decltype(rotated)::value>(at(i), trim);
        none += value == 0;
        ++counters[static_cast<unsigned>(value) & mask];
      };
      int64_t i = first;
      for (; i + 1 < end; i += 2) {
        add(i, own[0]);
        add(i + 1, own[1]);
      }
      if (i < end) add(i, own[0]);
      const std::lock_guard<std::mutex> lock(adding);
      for (const auto& some : own)
        for (unsigned low = 0; low <= mask; ++low) counts[low] += some[low];
      if (nonzero) counts[0] -= static_cast<uint32_t>(none);
    });
  });
}

void find_symbols(const uint8_t* words, int64_t count, WordType type, int trim, int raw, bool zero,
                  const uint8_t* by_head, uint8_t* symbols, int threads) {
  by_head_of(words, type, trim, raw, [&](auto at, auto head, auto limit) {
    // Copies: symbols are bytes, which could be anything that is not. Eight are written at once.
    for_parts(count, threads, [at, head, limit, zero, by_head, symbols](int64_t first, int64_t end) {
      const auto symbol_of = [=](int64_t i) -> uint64_t {
        const auto word = at(i);
        return zero && word < limit ? 0 : by_head[head(word)];
      };
      int64_t i = first;
      for (; i + 8 <= end; i += 8) {
        const uint64_t low = symbol_of(i) | symbol_of(i + 1) << 8 | symbol_of(i + 2) << 16 | symbol_of(i + 3) << 24;
        const uint64_t high =
            symbol_of(i + 4) | symbol_of(i + 5) << 8 | symbol_of(i + 6) << 16 | symbol_of(i + 7) << 24;
        const uint64_t eight = low | high << 32;
        std::memcpy(symbols + i, &eight, 8);  // little-endian, as the core is
      }
      for (; i < end; ++i) symbols[i] = static_cast<uint8_t>(symbol_of(i));
    });
  });
}

Distinct count_distinct(const uint8_t* words, int64_t count, WordType type, int trim, int raw, int heads) {
  NumberSet values(count);
  std::vector<uint32_t> often(static_cast<size_t>(heads));
  uint32_t most = 0;
  Distinct out;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, words + i * type.bytes, static_cast<size_t>(type.bytes));  // little-endian, as the core is
    const uint64_t value = value_of(word, trim, type);
    if (value == 0) continue;
    out.found += values.add(value);
    most = std::max(most, ++often[static_cast<size_t>(value >> raw)]);
  }
  std::vector<int64_t> expected{0};
  while (expected.size() <= most) expected.push_back(expected.back() + kOne - (expected.back() >> raw));
  for (const uint32_t some : often) out.expected += expected[some];
  return out;
}

int64_t count_repeats(const uint8_t* bytes, int64_t size, int word) {
  constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;
  NumberSet all(size / word);
  int64_t repeats = 0;
  for (int64_t at = 0; at + 8 <= size; at += word) {
    uint64_t window;
    std::memcpy(&window, bytes + at, 8);
    if (window * kSpread >> (64 - kAnchorBits) == 0) repeats += !all.add(window);
  }
  return repeats;
}

void sum_sizes(const uint8_t* symbols, const int16_t* sizes, int64_t rows, int64_t columns, int64_t share,
               int64_t* row_sums, int64_t* column_sums) {
  std::vector<int32_t> some(static_cast<size_t>(columns));  // 32 bits hold the sums of so many rows
  constexpr int64_t kMaxRows = 1 << 15;
  for (int64_t row = 0; row < rows; ++row, symbols += columns) {
    for (int64_t first = row % share * kSummed; first < columns; first += share * kSummed) {
      const int64_t end = std::min(columns, first + kSummed);
      int32_t sum = 0;
      for (int64_t k = first; k < end; ++k) {
        const int32_t size = sizes[symbols[k]];
        some[k] += size;
        sum += size;
      }
      row_sums[row] += sum;
    }
    if (row % kMaxRows == kMaxRows - 1 || row == rows - 1)
      for (int64_t k = 0; k < columns; ++k) column_sums[k] += std::exchange(some[k], 0);
  }
}

void count_by_table(const uint8_t* symbols, int64_t count, const TableWalk& walk, uint32_t* counts) {
  constexpr int64_t kSome = 4096, kTurns = 4;
  constexpr size_t kCounters = static_cast<size_t>(kMaxTables) * kMaxSymbols;
  std::vector<uint32_t> others(3 * kCounters);
  uint8_t tables[kSome];
  uint16_t entries[kSome];
  for (int64_t first = 0; first < count; first += kSome) {
    const int64_t some = std::min(count - first, kSome);
    walk.tables(first, some, tables);
    const uint8_t* part = symbols + first;
    for (int64_t i = 0; i < some; ++i) entries[i] = static_cast<uint16_t>(tables[i] << 8 | part[i]);
    int64_t i = 0;
    for (; i + kTurns <= some; i += kTurns) {
      ++counts[entries[i]];
      ++others[entries[i + 1]];
      ++others[kCounters + entries[i + 2]];
      ++others[2 * kCounters + entries[i + 3]];
    }
    for (; i < some; ++i) ++counts[entries[i]];
  }
  const size_t used = static_cast<size_t>(walk.last() + 1) * kMaxSymbols;
  for (size_t i = 0; i < used; ++i) counts[i] += others[i] + others[kCounters + i] + others[2 * kCounters + i];
}

}  // namespace tersely::ans
