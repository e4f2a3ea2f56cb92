// Sparse products in registers of 16 floats.
#include "tersely/backends/cpu/kernels/avx2/sparse_lists.hpp"
#include "tersely/backends/cpu/kernels/sparse_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

unsigned mask(const float* weights) {
  const __m512i words = _mm512_loadu_si512(weights);
  return _mm512_test_epi32_mask(words, words);
}

}  // namespace

void fill_avx512_sparse(KernelTable& table) { table.sparse = SparseLoops<16>::kKernels<mask, list_gaps>; }

}  // namespace tersely
