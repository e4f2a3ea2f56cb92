// Pixels, number by number, in registers of 16 floats.
#include "tersely/backends/cpu/kernels/pixels_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_avx512_pixels(KernelTable& table) { table.pixels = PixelLoops<16>::kKernels; }

}  // namespace tersely
