// Sparse products without instructions beyond the baseline.
#include "tersely/backends/cpu/kernels/sparse_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

unsigned mask(const float* weights) {
  uint32_t words[16];
  __builtin_memcpy(words, weights, sizeof words);
  unsigned found = 0;
  for (int row = 0; row < 16; ++row) found |= static_cast<unsigned>(words[row] != 0) << row;
  return found;
}

void list_gaps(const uint8_t* gaps, const uint8_t* values, int64_t blocks, int64_t last_column, SparsePlaces places,
               SparseEntry* entries, const uint32_t* first) {
  for (int lane = 0; lane < 16; ++lane) {
    SparseEntry* entry = entries + first[lane];
    int64_t column = 0;
    for (int64_t i = lane; i < blocks * 64; i += 16) {
      // SAFE BECAUSE: a sum of gaps, which are payload, is clamped to the last column.
      column += gaps[i];
      if (column > last_column) column = last_column;
      uint32_t word;
      __builtin_memcpy(&word, values + i * 4, 4);
      if (word == 0) continue;
      __builtin_memcpy(&entry->value, &word, 4);
      entry->at = places.at == nullptr ? static_cast<uint32_t>(column) * places.step : places.at[column];
      ++entry;
    }
    entry->at = kSparseEnd;
  }
}

using Loops = SparseLoops<4>;

Loops::Vector merge(Loops::Vector v, const float* at, uint32_t lanes) {
  if (lanes == 0xf) return Loops::load(at);
  for (int lane = 0; lane < 4; ++lane)
    if ((lanes >> lane & 1) != 0) v[lane] = at[lane];
  return v;
}

}  // namespace

void fill_scalar_sparse(KernelTable& table) { table.sparse = Loops::kKernels<mask, list_gaps, merge>; }

}  // namespace tersely
