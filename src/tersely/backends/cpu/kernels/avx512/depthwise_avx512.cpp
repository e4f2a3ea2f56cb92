// Depthwise convolution in registers of 16 floats.
#include "tersely/backends/cpu/kernels/depthwise_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_avx512_depthwise(KernelTable& table) { table.depthwise = DepthwiseLoops<16>::convolve; }

}  // namespace tersely
