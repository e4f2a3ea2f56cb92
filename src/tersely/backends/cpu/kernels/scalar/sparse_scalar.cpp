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

}  // namespace

void fill_scalar_sparse(KernelTable& table) { table.sparse = SparseLoops<4>::kKernels<mask>; }

}  // namespace tersely
