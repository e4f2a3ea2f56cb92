// See gaps.hpp. Columns are sums of gaps, which are payload: every sum is clamped to the last column.
#include "tersely/codes/selection/sparse/gaps.hpp"

#include <atomic>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"

namespace tersely {
namespace {

constexpr int64_t kWindowPanels = kWindowRows / kPanelRows;

int64_t window_of(const Geometry& g, int64_t group) { return group - group % g.panels_per_matrix % kWindowPanels; }
// The panel of a lane's row and its row in there.
struct LaneRow {
  int64_t panel;
  int row;
};
LaneRow lane_row(const Geometry& g, const uint8_t* rows, int64_t group, int lane) {
  const int in_window = rows[group * 16 + lane];
  return {window_of(g, group) + in_window / kPanelRows, static_cast<int>(in_window % kPanelRows)};
}
bool row_is_real(const Geometry& g, LaneRow at) {
  return at.panel % g.panels_per_matrix * kPanelRows + at.row < g.rows;
}

template <class Word>
bool encode(const uint8_t* words, const Geometry& g, const uint64_t* directory, const uint8_t* rows, uint8_t* gaps,
            uint8_t* values, int threads) {
  std::atomic<bool> same{true};
  const auto* in = reinterpret_cast<const Word*>(words);
  parallel_for(threads, g.panels, [&](int64_t group) {
    uint8_t* own_gaps = gaps + directory[group] * 64;
    uint8_t* own_values = values + directory[group] * 64 * sizeof(Word);
    const auto limit = static_cast<int64_t>(directory[group + 1] - directory[group]) * 4;
    for (int lane = 0; lane < 16; ++lane) {
      const LaneRow at = lane_row(g, rows, group, lane);
      if (!row_is_real(g, at)) continue;
      const int64_t base = row_offset(g, at.panel, at.row);
      int64_t step = 0, last = 0;
      for (int64_t column = 0; column < g.columns; ++column) {
        const int64_t offset = base + column_offset(g, column);
        if (offset >= g.elements || in[offset] == 0) continue;
        for (;; ++step, last += 255) {
          if (step == limit) {
            same = false;
            return;
          }
          const bool filler = column - last > 255;
          own_gaps[step * 16 + lane] = static_cast<uint8_t>(filler ? 255 : column - last);
          if (filler) continue;
          std::memcpy(own_values + (step * 16 + lane) * static_cast<int64_t>(sizeof(Word)), in + offset, sizeof(Word));
          ++step;
          last = column;
          break;
        }
      }
    }
  });
  return same;
}

uint64_t value_bytes(const GapView& view) {
  return view.scaling != nullptr ? 1 : static_cast<uint64_t>(kFields[static_cast<int>(view.dtype)].word_bytes);
}

const uint8_t* stored_values(const GapView& view, const KernelTable& table, int64_t group) {
  const uint64_t first = view.directory[group];
  if (view.coded == nullptr) return view.values + first * 64 * value_bytes(view);
  static thread_local Scratch memory;
  auto* scratch = memory.get<uint8_t>(kLevelsScratchBytes + kValuesScratchBytes);
  uint8_t* words = scratch + kLevelsScratchBytes;
  const auto count = static_cast<int64_t>(view.directory[group + 1] - first);
  if (count == 0) return words;
  Cursor cursor{nullptr, nullptr, nullptr};
  view.coded->begin(table, {group, static_cast<int64_t>(first), count}, scratch, cursor);
  view.coded->next(table, cursor, count, words);
  return words;
}

// [groups][16]
const float* lane_scales(const GapView& view, int64_t group) {
  static thread_local Scratch memory;
  auto* scales = memory.get<float>(view.scaling->groups * kPanelRows * 4);
  int64_t rows[kPanelRows];
  for (int lane = 0; lane < kPanelRows; ++lane)
    rows[lane] = window_of(view.geometry, group) * kPanelRows + view.rows[group * kPanelRows + lane];
  view.scaling->scales(rows, scales);
  return scales;
}

// Calls f(column, word) for the entries of a lane whose words are not zero bits. words: those of the group.
template <class Word, class F>
void for_entries(const GapView& view, const uint8_t* words, int64_t group, int lane, F&& f) {
  const auto steps = static_cast<int64_t>(view.directory[group + 1] - view.directory[group]) * 4;
  const uint8_t* gap = view.gaps + view.directory[group] * 64 + lane;
  const uint8_t* value = words + static_cast<uint64_t>(lane) * sizeof(Word);
  int64_t column = 0;
  for (int64_t step = 0; step < steps; ++step, gap += 16, value += 16 * sizeof(Word)) {
    column = std::min(column + *gap, view.geometry.columns - 1);
    Word word;
    std::memcpy(&word, value, sizeof word);
    if (word != 0) f(column, word);
  }
}

template <class Word>
void decode(const GapView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
            int64_t first_element, int64_t elements, uint8_t* out, int threads) {
  const Geometry& g = view.geometry;
  clear(out, elements * static_cast<int64_t>(sizeof(Word)), threads);
  if (first_panel >= last_panel) return;
  const int64_t first = window_of(g, first_panel), last_window = window_of(g, last_panel - 1);
  const int64_t matrix_end = (last_window / g.panels_per_matrix + 1) * g.panels_per_matrix;
  const int64_t last = std::min(last_window + kWindowPanels, matrix_end);
  parallel_for(threads, last - first, [&](int64_t index) {
    const uint8_t* words = word_entries(view, table, first + index).values;
    for (int lane = 0; lane < 16; ++lane) {
      const LaneRow at = lane_row(g, view.rows, first + index, lane);
      if (at.panel < first_panel || at.panel >= last_panel || !row_is_real(g, at)) continue;
      const int64_t base = row_offset(g, at.panel, at.row);
      for_entries<Word>(view, words, first + index, lane, [&](int64_t column, Word word) {
        const int64_t position = base + column_offset(g, column) - first_element;
        if (position >= 0 && position < elements)
          std::memcpy(out + position * static_cast<int64_t>(sizeof(Word)), &word, sizeof word);
      });
    }
  });
}

// Where the lane of a row lies among all lanes.
int64_t lane_of(const GapView& view, int64_t matrix, int64_t row) {
  const Geometry& g = view.geometry;
  const int64_t panel = matrix * g.panels_per_matrix + row / kPanelRows, first = window_of(g, panel);
  const int64_t in_window = (panel - first) * kPanelRows + row % kPanelRows;
  // SAFE BECAUSE: `validate` has seen every row of the window once.
  int64_t at = first * 16;
  while (view.rows[at] != in_window) ++at;
  return at;
}

template <class Word>
void pick(const GapView& view, const KernelTable& table, const int64_t* wanted, int64_t count, Word* out, int threads) {
  const int64_t columns = view.geometry.columns;
  parallel_for(threads, count, [&](int64_t i) {
    const int64_t at = lane_of(view, 0, wanted[i]);
    Word* row = out + i * columns;
    std::memset(row, 0, static_cast<size_t>(columns) * sizeof(Word));
    const uint8_t* words = word_entries(view, table, at / 16).values;
    for_entries<Word>(view, words, at / 16, static_cast<int>(at % 16),
                      [&](int64_t where, Word word) { row[where] = word; });
  });
}

}  // namespace

GapEntries stored_entries(const GapView& view, const KernelTable& table, int64_t group) {
  const uint64_t first = view.directory[group];
  const auto blocks = static_cast<int64_t>(view.directory[group + 1] - first);
  return {view.gaps + first * 64, stored_values(view, table, group), blocks, view.geometry.columns - 1,
          view.scaling == nullptr ? nullptr : lane_scales(view, group)};
}

GapEntries word_entries(const GapView& view, const KernelTable& table, int64_t group) {
  GapEntries entries = stored_entries(view, table, group);
  if (view.scaling == nullptr) return entries;
  static thread_local Scratch memory;
  const int word_bytes = kFields[static_cast<int>(view.dtype)].word_bytes;
  auto* words = memory.get<uint8_t>(entries.blocks * kChunkWeights * word_bytes + kSlackBytes);
  table.scale_gaps[static_cast<int>(view.dtype)](entries, view.scaling->shift, words);
  entries.values = words;
  return entries;
}

bool gaps_encode(const uint8_t* words, const Geometry& g, DType dtype, const uint64_t* directory, const uint8_t* rows,
                 uint8_t* gaps, uint8_t* values, int threads) {
  const int word_bytes = kFields[static_cast<int>(dtype)].word_bytes;
  if (word_bytes == 4) return encode<uint32_t>(words, g, directory, rows, gaps, values, threads);
  if (word_bytes == 1) return encode<uint8_t>(words, g, directory, rows, gaps, values, threads);
  return encode<uint16_t>(words, g, directory, rows, gaps, values, threads);
}

void gaps_decode_window(const GapView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                        int64_t first_element, int64_t elements, uint8_t* out, int threads) {
  const int word_bytes = kFields[static_cast<int>(view.dtype)].word_bytes;
  if (word_bytes == 4)
    return decode<uint32_t>(view, table, first_panel, last_panel, first_element, elements, out, threads);
  if (word_bytes == 1)
    return decode<uint8_t>(view, table, first_panel, last_panel, first_element, elements, out, threads);
  decode<uint16_t>(view, table, first_panel, last_panel, first_element, elements, out, threads);
}

uint32_t gaps_access(const GapView& view, int64_t matrix, int64_t row, int64_t column) {
  const int64_t at = lane_of(view, matrix, row), group = at / 16, lane = at % 16;
  const uint64_t first = view.directory[group], blocks = view.directory[group + 1] - first;
  const auto size = static_cast<size_t>(value_bytes(view));
  const ValueGroups groups{group, static_cast<int64_t>(first), static_cast<int64_t>(blocks)};
  uint32_t found = 0;
  int64_t where = 0;
  for (int64_t entry = lane; entry < groups.count * 64; entry += 16) {
    where = std::min(where + view.gaps[first * 64 + static_cast<uint64_t>(entry)], view.geometry.columns - 1);
    if (where != column) continue;
    uint32_t word = 0;
    if (view.coded != nullptr) {
      word = view.coded->access(groups, entry);
    } else {
      std::memcpy(&word, view.values + (first * 64 + static_cast<uint64_t>(entry)) * size, size);
    }
    if (word != 0) found = word;
  }
  if (found == 0 || view.scaling == nullptr) return found;
  const int64_t padded_row = window_of(view.geometry, group) * kPanelRows + view.rows[at];
  return view.scaling->word(padded_row, column, static_cast<int8_t>(found));
}

int64_t gaps_pick_rows(const GapView& view, const KernelTable& table, const int64_t* wanted, int64_t count,
                       uint8_t* out, int threads) {
  for (int64_t i = 0; i < count; ++i)
    if (wanted[i] < 0 || wanted[i] >= view.geometry.rows) return i;
  const int word_bytes = kFields[static_cast<int>(view.dtype)].word_bytes;
  if (word_bytes == 4) {
    pick(view, table, wanted, count, reinterpret_cast<uint32_t*>(out), threads);
  } else if (word_bytes == 1) {
    pick(view, table, wanted, count, out, threads);
  } else {
    pick(view, table, wanted, count, reinterpret_cast<uint16_t*>(out), threads);
  }
  return -1;
}

}  // namespace tersely
