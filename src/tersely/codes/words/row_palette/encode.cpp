// Which words the tables of a tensor hold, in which order, and each weight's index.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/word_map.hpp"
#include "tersely/codes/words/affine/panels.hpp"
#include "tersely/codes/words/row_palette/row_palette.hpp"

namespace tersely {
namespace {

bool is_finite(DType dtype, uint32_t word) {
  const uint32_t exponent = dtype == DType::kFloat32 ? 0x7F800000 : dtype == DType::kBfloat16 ? 0x7F80 : 0x7C00;
  return (word & exponent) != exponent;
}

// Calls f(panel, rows, words [rows][columns]) for each panel until one returns false. Returns whether none did.
template <class F>
bool for_panels(const uint8_t* words, DType dtype, const Geometry& g, int threads, F&& f) {
  std::atomic<bool> fits{true};
  parallel_for(threads, g.panels, [&](int64_t panel) {
    if (!fits) return;
    static thread_local Scratch scratch;
    auto* memory = scratch.get<uint32_t>(g.columns * kPanelRows * 4);
    const int64_t rows = copy_panel(words, dtype, g, panel, memory);
    if (!f(panel, rows, memory)) fits = false;
  });
  return fits;
}

}  // namespace

int row_palette_entries(const uint8_t* words, DType dtype, const Geometry& g, int64_t group_chunks, int most,
                        int threads) {
  const int64_t columns = group_chunks * kChunkColumns;
  std::atomic<int> entries{1};
  const bool fits = for_panels(words, dtype, g, threads, [&](int64_t, int64_t rows, const uint32_t* memory) {
    WordMap map;
    int own = 1;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t first = 0; first < g.columns; first += columns) {
        map.clear();
        bool finite = false;
        for (int64_t column = first; column < std::min(first + columns, g.columns); ++column) {
          const uint32_t word = memory[row * g.columns + column];
          finite = finite || is_finite(dtype, word);
          if (map.add(word) < 0 || map.size() > most) return false;
        }
        own = std::max(own, map.size() + !finite);
        if (own > most) return false;
      }
    for (int known = entries; known < own && !entries.compare_exchange_weak(known, own);) {
    }
    return true;
  });
  return fits ? entries.load() : 0;
}

void row_palette_encode(const uint8_t* words, const Geometry& g, const RowTables& shape, uint8_t* tables,
                        uint8_t* indices, int threads) {
  const int64_t columns = shape.group_chunks * kChunkColumns;
  const int64_t word_bytes = kFields[static_cast<int>(shape.dtype)].word_bytes;
  for_panels(words, shape.dtype, g, threads, [&](int64_t panel, int64_t rows, const uint32_t* memory) {
    WordMap map;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t group = 0; group < shape.groups; ++group) {
        map.clear();
        int64_t counts[WordMap::kMaxWords] = {};
        const int64_t first = group * columns, last = std::min(first + columns, g.columns);
        for (int64_t column = first; column < last; ++column) {
          const int number = map.add(memory[row * g.columns + column]);
          if (number < 0) return false;  // not what was counted
          ++counts[number];
        }
        // The finite words by falling count first, ties by rising word; a word of zero bits where there are none.
        int order[WordMap::kMaxWords];
        for (int i = 0; i < map.size(); ++i) order[i] = i;
        std::sort(order, order + map.size(), [&](int a, int b) {
          const bool a_finite = is_finite(shape.dtype, map.word(a)), b_finite = is_finite(shape.dtype, map.word(b));
          if (a_finite != b_finite) return a_finite;
          return counts[a] != counts[b] ? counts[a] > counts[b] : map.word(a) < map.word(b);
        });
        const int behind = map.size() > 0 && !is_finite(shape.dtype, map.word(order[0]));
        if (map.size() + behind > shape.entries) return false;
        uint8_t positions[WordMap::kMaxWords];
        uint8_t* to = tables + ((panel * shape.groups + group) * kPanelRows + row) * shape.entries * word_bytes;
        for (int i = 0; i < map.size(); ++i) {
          const uint32_t word = map.word(order[i]);
          positions[order[i]] = static_cast<uint8_t>(i + behind);
          std::memcpy(to + (i + behind) * word_bytes, &word, static_cast<size_t>(word_bytes));
        }
        for (int64_t column = first; column < last; ++column) {
          const int64_t at = row_offset(g, panel, static_cast<int>(row)) + column_offset(g, column);
          indices[at] = positions[map.number(memory[row * g.columns + column])];
        }
      }
    return true;
  });
}

}  // namespace tersely
