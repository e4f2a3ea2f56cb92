// Sparse products in registers of 8 floats.
#include "tersely/backends/cpu/kernels/avx2/sparse_lists.hpp"
#include "tersely/backends/cpu/kernels/sparse_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

unsigned mask_of_eight(const float* weights) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
  const __m256i zero = _mm256_cmpeq_epi32(words, _mm256_setzero_si256());
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(zero))) ^ 0xff;
}

unsigned mask(const float* weights) { return mask_of_eight(weights) | mask_of_eight(weights + 8) << 8; }

}  // namespace

void fill_avx2_sparse(KernelTable& table) { table.sparse = SparseLoops<8>::kKernels<mask, list_gaps>; }

}  // namespace tersely
