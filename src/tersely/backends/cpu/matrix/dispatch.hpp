// Which instruction set is in use. Tables are built once; `TERSELY_ISA` and tersely.isa.use() choose among them.
#pragma once

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {

inline constexpr const char* kIsaNames[] = {"scalar", "avx2", "avx2_vnni", "avx512", "avx512_bf16", "amx"};
inline constexpr int kIsaCount = 6;

// Null where `isa` can be used here, else the reason why not.
const char* isa_why_not(int isa);
// The table in use; never null.
const KernelTable& active_table();
// Precondition: isa_why_not(isa) is null.
void use_isa(int isa);
int active_isa();

}  // namespace tersely
