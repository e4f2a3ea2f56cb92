// Pooling in registers of 4 floats.
#include "tersely/backends/cpu/kernels/pool_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_scalar_pool(KernelTable& table) { table.pool = Pooling<4>::kKernels; }

}  // namespace tersely
