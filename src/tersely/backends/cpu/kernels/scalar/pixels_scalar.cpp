// Pixels, number by number, in registers of 4 floats.
#include "tersely/backends/cpu/kernels/pixels_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

void fill_scalar_pixels(KernelTable& table) { table.pixels = PixelLoops<4>::kKernels; }

}  // namespace tersely
