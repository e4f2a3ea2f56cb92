// Winograd's transforms in registers of 8 floats.
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/winograd_transforms.hpp"

namespace tersely {

void fill_avx2_winograd(KernelTable& table) { table.winograd = Transforms<8>::kKernels; }

}  // namespace tersely
