// Pixels, number by number, in registers of 8 floats.
#include "tersely/backends/cpu/kernels/pixels_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_avx2_pixels(KernelTable& table) { table.pixels = PixelLoops<8>::kKernels; }

}  // namespace tersely
