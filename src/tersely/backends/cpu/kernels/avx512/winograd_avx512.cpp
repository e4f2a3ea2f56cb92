// Winograd's transforms in registers of 16 floats.
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/winograd_transforms.hpp"

namespace tersely {

void fill_avx512_winograd(KernelTable& table) { table.winograd = Transforms<16>::kKernels; }

}  // namespace tersely
