// What the encoder counts before it chooses (survey.py).
#pragma once

#include "tersely/storage/ans/block.hpp"

namespace tersely::ans {

// counts[value >> raw] += 1 of each word; returns how many values are 0.
int64_t count_heads(const uint8_t* words, int64_t count, WordType type, int trim, int raw, int64_t heads,
                    uint32_t* counts, int threads);
// symbols[i] = by_head[value >> raw], 0 for the value 0 where `zero`.
void find_symbols(const uint8_t* words, int64_t count, WordType type, int trim, int raw, bool zero,
                  const uint8_t* by_head, uint8_t* symbols, int threads);
// sums[k] += sizes[symbol] of coordinate k of the middle axis of [outer][length][inner].
void axis_sums(const uint8_t* symbols, const int16_t* sizes, int64_t outer, int64_t length, int64_t inner,
               int64_t* sums);
// counts[table][256] of the symbols of a walk.
void count_by_table(const uint8_t* symbols, int64_t count, const TableWalk& walk, uint32_t* counts);

}  // namespace tersely::ans
