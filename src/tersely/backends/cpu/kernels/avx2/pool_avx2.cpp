// Pooling in registers of 8 floats.
#include "tersely/backends/cpu/kernels/pool_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_avx2_pool(KernelTable& table) { table.pool = Pooling<8>::kKernels; }

}  // namespace tersely
