// See sparse_weights.hpp.
#include "tersely/backends/cpu/network/sparse_weights.hpp"

#include <cstring>
#include <limits>
#include <stdexcept>

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
         (coded.word_bytes() == 4 || coded.gaps() == nullptr) && g.count == 1 && g.columns > 0 &&
         g.rows == groups.count * groups.outputs && g.columns == groups.channels * taps;
}

SparseWeights::SparseWeights(const CodedMatrix& coded, const Groups& groups, int64_t taps)
    : coded_(coded), groups_(groups) {
  if (!lists(coded, groups, taps))
    throw std::invalid_argument(
        "the weight is no matrix of floats of which words can be listed, a row for each output and a column for each "
        "channel and tap");
  const Geometry& g = coded.geometry();
  for (int64_t column = 0; column < g.columns; ++column)
    columns_.push_back(g.column_offsets == nullptr ? column : g.column_offsets[column]);
  first_.assign(static_cast<size_t>(outputs()), 0);
  if (const GapLanes* lanes = coded.gaps()) {
    for (int64_t group = 0; group < g.panels; ++group)
      for (int lane = 0; lane < kPanelRows; ++lane) {
        const int64_t row = lanes->row(group, lane);
        if (row < outputs()) first_[static_cast<size_t>(row)] = narrow(entries_);
        lanes_.push_back(narrow(entries_));
        entries_ += lanes->blocks(group) * 4 + 1;
      }
  } else {
    count_words();
  }
  narrow(entries_);
}

// Panels are decoded once to count their words: positions may say less, and payload more, than a directory.
void SparseWeights::count_words() {
  const FloatPanels panels(*coded_.words(), active_table());
  for (int64_t item = 0; item < panels.items(); ++item)
    panels.walk(item, kDecodedColumns, [&](const FloatBlock& block) {
      for (int k = 0; k < block.panels; ++k) {
        const int64_t output = (block.panel + k) * kPanelRows, count = std::min(kPanelRows, outputs() - output);
        const float* weights = block.weights + k * block.panel_stride;
        for (int64_t column = 0; column < block.columns; ++column)
          for (int64_t row = 0; row < count; ++row) {
            uint32_t word;
            std::memcpy(&word, weights + column * kPanelRows + row, 4);
            first_[static_cast<size_t>(output + row)] += word != 0;
          }
      }
    });
  for (uint32_t& one : first_) {
    const int64_t count = one;
    one = narrow(entries_);
    entries_ += count + 1;
  }
}

SparseWeights::Lister::Lister(const SparseWeights& weights, const KernelTable& table, SparsePlaces places,
                              SparseEntry* entries)
    : weights_(weights), table_(table), places_(places), entries_(entries) {
  if (weights.coded_.gaps() == nullptr) panels_.emplace(*weights.coded_.words(), table);
}

void SparseWeights::Lister::list_panels(int64_t item) const {
  const std::vector<uint32_t>& first = weights_.first_;
  const int64_t outputs = weights_.outputs(), columns = weights_.columns();
  uint32_t next[2][kPanelRows], limit[2][kPanelRows];
  panels_->walk(item, kDecodedColumns, [&](const FloatBlock& block) {
    for (int k = 0; k < block.panels; ++k) {
      const int64_t output = (block.panel + k) * kPanelRows, count = std::min(kPanelRows, outputs - output);
      for (int64_t row = 0; block.first_column == 0 && row < kPanelRows; ++row) {
        const auto index = static_cast<size_t>(output + row);
        next[k][row] = row < count ? first[index] : 0;
        const int64_t end = row >= count ? 1 : index + 1 < first.size() ? first[index + 1] : weights_.entries_;
        limit[k][row] = static_cast<uint32_t>(end - 1);
      }
      table_.sparse.list(block.weights + k * block.panel_stride, block.first_column, block.columns, places_, entries_,
                         next[k], limit[k]);
      if (block.first_column + block.columns < columns) continue;
      for (int64_t row = 0; row < count; ++row) entries_[next[k][row]].at = kSparseEnd;
    }
  });
}

void SparseWeights::Lister::list(int64_t item) const {
  if (panels_) return list_panels(item);
  const GapEntries found = weights_.coded_.gaps()->entries(table_, item);
  table_.sparse.list_gaps(found.gaps, found.values, found.blocks, found.last_column, places_, entries_,
                          weights_.lanes_.data() + item * kPanelRows);
}

}  // namespace tersely
