// See sparse_weights.hpp.
#include "tersely/backends/cpu/network/sparse_weights.hpp"

#include <limits>
#include <cstring>
#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace tersely {
namespace {

// Columns of a panel that are decoded at a time: half of the smallest first-level cache.
constexpr int64_t kDecodedColumns = 256;

uint32_t narrow(int64_t entries) {
  if (entries > std::numeric_limits<uint32_t>::max()) throw std::invalid_argument("a weight has too many entries");
  return static_cast<uint32_t>(entries);
}

}  // namespace

bool SparseWeights::lists(const CodedMatrix& coded, const Groups& groups, int64_t taps) {
  const Geometry& g = coded.geometry();
  return coded.products() == Products::kFloats && (coded.words() != nullptr || coded.gaps() != nullptr) &&
         coded.word_bytes() == 4 && g.count == 1 && g.columns > 0 && g.rows == groups.count * groups.outputs &&
         g.columns == groups.channels * taps;
}

SparseWeights::SparseWeights(const CodedMatrix& coded, const Groups& groups, int64_t taps)
    : coded_(coded), groups_(groups) {
  if (!lists(coded, groups, taps))
    throw std::invalid_argument(
        "the weight is no float32 matrix of which words can be listed, a row for each output and a column for each "
        "channel and tap");
  const Geometry& g = coded.geometry();
  for (int64_t column = 0; column < g.columns; ++column)
    columns_.push_back(g.column_offsets == nullptr ? column : g.column_offsets[column]);
  if (const GapLanes* lanes = coded.gaps()) {
    first_.assign(1, 0);
    for (int64_t group = 0; group < g.panels; ++group)
      for (int lane = 0; lane < 16; ++lane) first_.push_back(narrow(int64_t{first_.back()} + lanes->blocks(group) * 4 + 1));
  } else {
    count_words();
  }
}

// Panels are decoded once to count their words: positions may say less, and payload more, than a directory.
void SparseWeights::count_words() {
  const FloatPanels panels(*coded_.words(), active_table());
  first_.assign(static_cast<size_t>(outputs()) + 1, 0);
  for (int64_t item = 0; item < panels.items(); ++item)
    panels.walk(item, kDecodedColumns, [&](const FloatBlock& block) {
      for (int k = 0; k < block.panels; ++k) {
        const int64_t output = (block.panel + k) * kPanelRows, count = std::min(kPanelRows, outputs() - output);
        const float* weights = block.weights + k * block.panel_stride;
        for (int64_t column = 0; column < block.columns; ++column)
          for (int64_t row = 0; row < count; ++row) {
            uint32_t word;
            std::memcpy(&word, weights + column * kPanelRows + row, 4);
            first_[static_cast<size_t>(output + row + 1)] += word != 0;
          }
      }
    });
  int64_t sum = 0;
  for (uint32_t& one : first_) one = narrow(sum += one);
}

void SparseWeights::list_lanes(const KernelTable& table, const PackedColumns& packed, int64_t group,
                               SparseEntry* entries, SparseRun* runs) const {
  const GapLanes& lanes = *coded_.gaps();
  const GapEntries found = lanes.entries(table, group);
  SparseRun* own[kPanelRows];
  for (int lane = 0; lane < kPanelRows; ++lane) {
    const int64_t row = lanes.row(group, lane);
    own[lane] = row < outputs() ? runs + row : nullptr;
  }
  const SparseGaps gaps{found.gaps,           found.values, found.blocks * 4, columns(),
                        packed.block_columns, packed.step,  outputs()};
  table.sparse.list_gaps(gaps, entries, first_.data() + group * kPanelRows, own);
}

void SparseWeights::list_panels(const KernelTable& table, const FloatPanels& panels, const PackedColumns& packed,
                                int64_t item, SparseEntry* entries, SparseRun* runs) const {
  uint32_t next[2][kPanelRows], limit[2][kPanelRows], begin[2][kPanelRows];
  panels.walk(item, kDecodedColumns, [&](const FloatBlock& block) {
    for (int k = 0; k < block.panels; ++k) {
      const int64_t output = (block.panel + k) * kPanelRows, count = std::min(kPanelRows, outputs() - output);
      if (block.first_column == 0)
        for (int64_t row = 0; row < kPanelRows; ++row) {
          const bool real = row < count;
          next[k][row] = begin[k][row] = real ? first_[static_cast<size_t>(output + row)] : 0;
          limit[k][row] = real ? first_[static_cast<size_t>(output + row + 1)] : 0;
        }
      const float* weights = block.weights + k * block.panel_stride;
      const int64_t end = block.first_column + block.columns;
      for (int64_t column = block.first_column, stop; column < end; column = stop) {
        const int64_t index = column / packed.block_columns, last = std::min((index + 1) * packed.block_columns, columns());
        stop = std::min(end, last);
        table.sparse.list(weights + (column - block.first_column) * kPanelRows, stop - column,
                          static_cast<uint32_t>(column - index * packed.block_columns) * packed.step, packed.step,
                          entries, next[k], limit[k]);
        if (stop != last) continue;
        for (int64_t row = 0; row < count; ++row) {
          runs[index * outputs() + output + row] = {begin[k][row], next[k][row] - begin[k][row]};
          begin[k][row] = next[k][row];
        }
      }
    }
  });
}

void SparseWeights::list(const KernelTable& table, const PackedColumns& packed, SparseEntry* entries, SparseRun* runs,
                         int threads) const {
  if (coded_.gaps() != nullptr) {
    parallel_for(threads, coded_.geometry().panels,
                 [&](int64_t group) { list_lanes(table, packed, group, entries, runs); });
    return;
  }
  const FloatPanels panels(*coded_.words(), table);
  parallel_for(threads, panels.items(),
               [&](int64_t item) { list_panels(table, panels, packed, item, entries, runs); });
}

}  // namespace tersely
