// Depthwise convolution in registers of 4 floats.
#include "tersely/backends/cpu/kernels/depthwise_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_scalar_depthwise(KernelTable& table) { table.depthwise = DepthwiseLoops<4>::convolve; }

}  // namespace tersely
