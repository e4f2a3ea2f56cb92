// Winograd's transforms in registers of 4 floats.
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/winograd_transforms.hpp"

namespace tersely {

void fill_scalar_winograd(KernelTable& table) { table.winograd = Transforms<4>::kKernels; }

}  // namespace tersely
