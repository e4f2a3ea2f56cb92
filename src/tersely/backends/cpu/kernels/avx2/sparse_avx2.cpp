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

using Loops = SparseLoops<8>;

Loops::Vector merge(Loops::Vector v, const float* at, uint32_t lanes) {
  if (lanes == 0xff) return Loops::load(at);
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(lanes)), bits), bits);
  const __m256 found = _mm256_maskload_ps(at, set);
  return Loops::either(v, Loops::load(reinterpret_cast<const float*>(&found)));
}

}  // namespace

void fill_avx2_sparse(KernelTable& table) { table.sparse = Loops::kKernels<mask, list_gaps, merge>; }

}  // namespace tersely
