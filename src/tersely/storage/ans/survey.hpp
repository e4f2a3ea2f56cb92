// What the encoder counts before it chooses (survey.py).
#pragma once

#include "tersely/storage/ans/block.hpp"

namespace tersely::ans {

// counts[value >> raw] += 1 of each word; returns how many values are 0.
int64_t count_heads(const uint8_t* words, int64_t count, WordType type, int trim, int raw, int64_t heads,
                    uint32_t* counts, int threads);
// counts[value's lowest bits, at most 8] += 1 of each word; nonzero: not of the value 0.
void count_lowest(const uint8_t* words, int64_t count, WordType type, int trim, int bits, bool nonzero,
                  uint32_t* counts, int threads);
// symbols[i] = by_head[value >> raw], 0 for the value 0 where `zero`.
void find_symbols(const uint8_t* words, int64_t count, WordType type, int trim, int raw, bool zero,
                  const uint8_t* by_head, uint8_t* symbols, int threads);
// Of values other than 0: how many values are distinct, and how many there would be on average if
// the `raw` bits below heads were noise, in 1/65536.
struct Distinct {
  int64_t found = 0, expected = 0;
};
Distinct count_distinct(const uint8_t* words, int64_t count, WordType type, int trim, int raw, int heads);
// Of runs of 8 bytes that begin at a multiple of `word` and hash to zeros in this many bits: how many have been there
// before.
inline constexpr int kAnchorBits = 5;
int64_t count_repeats(const uint8_t* bytes, int64_t size, int word);
// Adds sizes[symbol] of the symbols of a matrix up by row and by column: of runs of kSummed columns those whose number
// is that of the row, modulo `share`.
inline constexpr int64_t kSummed = 16;
void sum_sizes(const uint8_t* symbols, const int16_t* sizes, int64_t rows, int64_t columns, int64_t share,
               int64_t* row_sums, int64_t* column_sums);
// counts[table][256] of the symbols of a walk.
void count_by_table(const uint8_t* symbols, int64_t count, const TableWalk& walk, uint32_t* counts);

}  // namespace tersely::ans
