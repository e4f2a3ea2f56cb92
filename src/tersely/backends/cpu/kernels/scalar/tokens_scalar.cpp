// Activations, layer norm and softmax in registers of 4 floats.
#include "tersely/backends/cpu/kernels/activation_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/token_loops.hpp"

namespace tersely {

void fill_scalar_tokens(KernelTable& table) {
  Activations<4>::fill(table.activate);
  table.tokens = Tokens<4>::kKernels;
}

}  // namespace tersely
