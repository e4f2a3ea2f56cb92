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

}  // namespace

int64_t count_heads(const uint8_t* words, int64_t count, WordType type, int trim, int raw, int64_t heads,
                    uint32_t* counts, int threads) {
  std::atomic<int64_t> zeros{0};
  std::mutex adding;
  by_type(words, type, [&](auto at, auto rotated) {
    // As many counters are set to zero and added as there are heads: that is little for a part of many more words.
    const int64_t size = std::max(kPart, 16 * heads);
    const auto part = [&, trim, raw](int64_t first, int64_t end) {
      // Counters by turns: runs of one head would wait for each other.
      std::vector<uint32_t> own(static_cast<size_t>(2 * heads));
      uint32_t *even = own.data(), *odd = own.data() + heads;
      const auto value = [&at, trim](int64_t i) { return cut<decltype(rotated)::value>(at(i), trim); };
      int64_t none = 0, i = first;
      for (; i + 1 < end; i += 2) {
        const auto one = value(i), other = value(i + 1);
        none += (one == 0) + (other == 0);
        ++even[static_cast<uint64_t>(one) >> raw];
        ++odd[static_cast<uint64_t>(other) >> raw];
      }
      if (i < end) {
        none += value(i) == 0;
        ++even[static_cast<uint64_t>(value(i)) >> raw];
      }
      zeros += none;
      const std::lock_guard<std::mutex> lock(adding);
      for (int64_t head = 0; head < heads; ++head) counts[head] += even[head] + odd[head];
    };
    for_parts(count, threads, part, size);
  });
  return zeros;
}

void find_symbols(const uint8_t* words, int64_t count, WordType type, int trim, int raw, bool zero,
                  const uint8_t* by_head, uint8_t* symbols, int threads) {
  by_type(words, type, [&](auto at, auto rotated) {
    // Copies: symbols are bytes, which could be anything that is not.
    for_parts(count, threads, [at, trim, raw, zero, by_head, symbols](int64_t first, int64_t end) {
      using Rotated = decltype(rotated);
      if (zero)
        for (int64_t i = first; i < end; ++i) {
          const auto value = cut<Rotated::value>(at(i), trim);
          symbols[i] = static_cast<uint8_t>(value == 0 ? 0 : by_head[static_cast<uint64_t>(value) >> raw]);
        }
      else
        for (int64_t i = first; i < end; ++i)
          symbols[i] = by_head[static_cast<uint64_t>(cut<Rotated::value>(at(i), trim)) >> raw];
    });
  });
}

void axis_sums(const uint8_t* symbols, const int16_t* sizes, int64_t outer, int64_t length, int64_t inner,
               int64_t* sums) {
  if (inner == 1) {
    // 32 bits hold the sums of 2^15 rows.
    std::vector<int32_t> some(static_cast<size_t>(length));
    for (int64_t row = 0; row < outer; ++row, symbols += length) {
      for (int64_t k = 0; k < length; ++k) some[k] += sizes[symbols[k]];
      if (row % 32768 == 32767 || row == outer - 1)
        for (int64_t k = 0; k < length; ++k) {
          sums[k] += some[k];
          some[k] = 0;
        }
    }
    return;
  }
  for (int64_t row = 0; row < outer; ++row)
    for (int64_t k = 0; k < length; ++k, symbols += inner) {
      int64_t sum = 0;
      for (int64_t i = 0; i < inner; ++i) sum += sizes[symbols[i]];
      sums[k] += sum;
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
