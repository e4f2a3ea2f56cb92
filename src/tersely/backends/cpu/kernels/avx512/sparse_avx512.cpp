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

using Loops = SparseLoops<16>;

Loops::Vector merge(Loops::Vector v, const float* at, uint32_t lanes) {
  if (lanes == 0xffff) return Loops::load(at);
  const __m512 found = _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), at);
  return Loops::either(v, Loops::load(reinterpret_cast<const float*>(&found)));
}

}  // namespace

void fill_avx512_sparse(KernelTable& table) { table.sparse = Loops::kKernels<mask, list_gaps, merge>; }

}  // namespace tersely
