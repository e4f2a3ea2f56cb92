// Pooling in registers of 16 floats.
#include "tersely/backends/cpu/kernels/pool_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_avx512_pool(KernelTable& table) { table.pool = Pooling<16>::kKernels; }

}  // namespace tersely
