// Depthwise convolution in registers of 8 floats.
#include "tersely/backends/cpu/kernels/depthwise_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_avx2_depthwise(KernelTable& table) { table.depthwise = DepthwiseLoops<8>::convolve; }

}  // namespace tersely
