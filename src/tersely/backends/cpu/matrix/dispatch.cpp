// See dispatch.hpp. Built without some kernels (TERSELY_SCALAR_ONLY) their names say so.
#include "tersely/backends/cpu/matrix/dispatch.hpp"

#include <atomic>

#include "tersely/backends/cpu/base/cpu.hpp"

namespace tersely {
namespace {

struct Tables {
  KernelTable table[kIsaCount];
  Tables() {
    fill_scalar(table[0]);
#if defined(TERSELY_X86_KERNELS)
    // Only what this processor has: a fill is compiled for its set, down to how it copies pointers.
    table[1] = table[0];
    if (cpu_lacks_avx2() == nullptr) fill_avx2(table[1]);
    table[2] = table[1];
    if (cpu_lacks_avx2_vnni() == nullptr) fill_avx2_vnni(table[2]);
    table[3] = table[2];
    if (cpu_lacks_avx512() == nullptr) fill_avx512(table[3]);
    table[4] = table[3];
    if (cpu_lacks_avx512_bf16() == nullptr) fill_avx512_bf16(table[4]);
    table[5] = table[4];
    if (cpu_lacks_amx() == nullptr) fill_amx(table[5]);
#endif
  }
};

const Tables& tables() {
  static const Tables all;
  return all;
}

int best_isa() {
  int best = 0;
  for (int isa = 1; isa < kIsaCount; ++isa)
    if (isa_why_not(isa) == nullptr) best = isa;
  return best;
}

std::atomic<int>& chosen() {
  static std::atomic<int> isa{best_isa()};
  return isa;
}

}  // namespace

const char* isa_why_not(int isa) {
  if (isa == 0) return nullptr;
#if defined(TERSELY_X86_KERNELS)
  switch (isa) {
    case 1:
      return cpu_lacks_avx2();
    case 2:
      return cpu_lacks_avx2_vnni();
    case 3:
      return cpu_lacks_avx512();
    case 4:
      return cpu_lacks_avx512_bf16();
    default:
      return cpu_lacks_amx();
  }
#else
  return "this build has scalar kernels only";
#endif
}

const KernelTable& active_table() { return tables().table[chosen().load(std::memory_order_relaxed)]; }
void use_isa(int isa) { chosen().store(isa); }
int active_isa() { return chosen().load(); }

}  // namespace tersely
