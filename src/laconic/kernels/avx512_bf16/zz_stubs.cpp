#include "laconic/kernels/table.hpp"
namespace laconic {
__attribute__((weak)) void fill_avx2(KernelTable& t) { t.isa = "avx2"; }
__attribute__((weak)) void fill_amx(KernelTable& t) { t.isa = "amx"; }
}  // namespace laconic
