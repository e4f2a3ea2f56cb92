// What this processor can do, as far as kernels need to know.
#pragma once

namespace tersely {

// Each null where the processor and the operating system support the set, else the reason why not.
const char* cpu_lacks_avx2();
const char* cpu_lacks_avx2_vnni();
const char* cpu_lacks_avx512();
const char* cpu_lacks_avx512_bf16();
const char* cpu_lacks_amx();  // asks the kernel for permission to use tiles, once

// True where a gather takes longer than as many loads: a speed fact, not a feature bit. AMD's do, and those of Intel
// before Sapphire Rapids and Alder Lake, the first with AVX-VNNI, whose microcode slows gathers down against Downfall.
bool cpu_has_slow_gather();
const char* cpu_name();

}  // namespace tersely
