// Activations, layer norm and softmax in registers of 8 floats.
#include "tersely/backends/cpu/kernels/activation_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/token_loops.hpp"

namespace tersely {

void fill_avx2_tokens(KernelTable& table) {
  Activations<8>::fill(table.activate);
  table.tokens = Tokens<8>::kKernels;
}

}  // namespace tersely
