// The weights of a convolution that are not zero, as lists: decoded anew at each run from gaps, or from panels where
// positions lie otherwise.
#pragma once

#include <optional>
#include <vector>

#include "tersely/backends/cpu/matrix/coded_matrix.hpp"
#include "tersely/backends/cpu/network/weights.hpp"

namespace tersely {

class SparseWeights {
 public:
  // Whether a coded matrix can be listed as the weights of these groups.
  static bool lists(const CodedMatrix& coded, const Groups& groups, int64_t taps);
  // coded: borrowed. Throws std::invalid_argument where it cannot be listed.
  SparseWeights(const CodedMatrix& coded, const Groups& groups, int64_t taps);

  const Groups& groups() const { return groups_; }
  int64_t outputs() const { return groups_.count * groups_.outputs; }
  int64_t columns() const { return static_cast<int64_t>(columns_.size()); }
  // Channel of its group x taps + tap of each column, in the order of lists.
  const std::vector<int64_t>& places() const { return columns_; }
  // Room for all lists, in entries: no fewer than there are.
  int64_t entries() const { return entries_; }

  // Where each output's list begins, [outputs].
  const std::vector<uint32_t>& first() const { return first_; }
  // Writes the lists, item by item; safe under several threads.
  class Lister {
   public:
    int64_t items() const { return panels_ ? panels_->items() : weights_.coded_.geometry().panels; }
    void list(int64_t item) const;

   private:
    friend class SparseWeights;
    Lister(const SparseWeights& weights, const KernelTable& table, SparsePlaces places, SparseEntry* entries);
    void list_panels(int64_t item) const;

    const SparseWeights& weights_;
    const KernelTable& table_;
    const SparsePlaces places_;
    SparseEntry* const entries_;
    std::optional<FloatPanels> panels_;  // none where weights are gaps
  };
  // entries: room as above. places: of packed columns, borrowed.
  Lister lister(const KernelTable& table, SparsePlaces places, SparseEntry* entries) const {
    return {*this, table, places, entries};
  }

 private:
  void count_words();

  const CodedMatrix& coded_;
  const Groups groups_;
  std::vector<int64_t> columns_;
  std::vector<uint32_t> first_;
  std::vector<uint32_t> lanes_;  // the same of each lane, those of padding too
  int64_t entries_ = 0;
};

}  // namespace tersely
