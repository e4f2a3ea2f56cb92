// See survey.hpp.
#include "tersely/storage/ans/survey.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "tersely/backends/cpu/base/parallel.hpp"

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

}  // namespace

int64_t count_heads(const uint8_t* words, int64_t count, WordType type, int trim, int raw, int64_t heads,
                    uint32_t* counts, int threads) {
  std::atomic<int64_t> zeros{0};
  std::mutex adding;
  by_head_of(words, type, trim, raw, [&](auto at, auto head, auto limit) {
    // As many counters are set to zero and added as there are heads: that is little for a part of many more words.
    const int64_t size = std::max(kPart, 16 * heads);
    const auto part = [&, at, head, limit](int64_t first, int64_t end) {
      // Counters by turns: runs of one head would wait for each other.
      std::vector<uint32_t> own(static_cast<size_t>(2 * heads));
      uint32_t *even = own.data(), *odd = own.data() + heads;
      int64_t none = 0, i = first;
      for (; i + 1 < end; i += 2) {
        const auto one = at(i), other = at(i + 1);
        none += (one < limit) + (other < limit);
        ++even[head(one)];
        ++odd[head(other)];
      }
      if (i < end) {
        none += at(i) < limit;
        ++even[head(at(i))];
      }
      zeros += none;
      const std::lock_guard<std::mutex> lock(adding);
      for (int64_t head = 0; head < heads; ++head) counts[head] += even[head] + odd[head];
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
    // Copies: symbols are bytes, which could be anything that is not.
    for_parts(count, threads, [at, head, limit, zero, by_head, symbols](int64_t first, int64_t end) {
      if (zero)
        for (int64_t i = first; i < end; ++i) symbols[i] = at(i) < limit ? uint8_t{0} : by_head[head(at(i))];
      else
        for (int64_t i = first; i < end; ++i) symbols[i] = by_head[head(at(i))];
    });
  });
}

void sum_sizes(const uint8_t* symbols, const int16_t* sizes, int64_t rows, int64_t columns, int64_t* row_sums,
               int64_t* column_sums) {
  // 32 bits hold the sums of 2^15 rows, and of parts of as many columns.
  constexpr int64_t kMaxSummed = 1 << 15;
  std::vector<int32_t> some(static_cast<size_t>(columns));
  for (int64_t row = 0; row < rows; ++row, symbols += columns) {
    for (int64_t first = 0; first < columns; first += kMaxSummed) {
      const int64_t end = std::min(columns, first + kMaxSummed);
      int32_t sum = 0;
      for (int64_t k = first; k < end; ++k) {
        const int32_t size = sizes[symbols[k]];
        some[k] += size;
        sum += size;
      }
      row_sums[row] += sum;
    }
    if (row % kMaxSummed == kMaxSummed - 1 || row == rows - 1)
      for (int64_t k = 0; k < columns; ++k) {
        column_sums[k] += some[k];
        some[k] = 0;
      }
  }
}

void count_by_table(const uint8_t* symbols, int64_t count, const TableWalk& walk, uint32_t* counts) {
  std::vector<uint32_t> other(kMaxTables * kMaxSymbols);
  uint8_t tables[4096];
  for (int64_t first = 0; first < count; first += 4096) {
    const int64_t some = std::min<int64_t>(count - first, 4096);
    walk.tables(first, some, tables);
    const uint8_t* part = symbols + first;
    int64_t i = 0;
    for (; i + 1 < some; i += 2) {
      ++counts[tables[i] << 8 | part[i]];
      ++other[static_cast<size_t>(tables[i + 1] << 8 | part[i + 1])];
    }
    if (i < some) ++counts[tables[i] << 8 | part[i]];
  }
  for (size_t i = 0; i < other.size(); ++i) counts[i] += other[i];
}

}  // namespace tersely::ans
