// Activations, layer norm and softmax in registers of 16 floats.
#include "tersely/backends/cpu/kernels/activation_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/kernels/token_loops.hpp"

namespace tersely {

void fill_avx512_tokens(KernelTable& table) {
  Activations<16>::fill(table.activate);
  table.tokens = Tokens<16>::kKernels;
}

}  // namespace tersely
