// See cpu.hpp. The compiler's __builtin_cpu_supports also checks that the operating system saves the registers.
#include "tersely/backends/cpu/base/cpu.hpp"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tersely {

#if defined(__x86_64__)

namespace {

bool cpu_has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

}  // namespace

const char* cpu_lacks_avx2() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return "the processor has no AVX2";
  if (!__builtin_cpu_supports("fma")) return "the processor has no FMA";
  if (!__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2")) return "the processor has no BMI1 and BMI2";
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_F16C)) return "the processor has no F16C";
  return nullptr;
}

#if defined(TERSELY_EMULATE)

const char* cpu_lacks_avx2_vnni() { return cpu_lacks_avx2(); }
const char* cpu_lacks_avx512() { return cpu_lacks_avx2(); }
const char* cpu_lacks_avx512_bf16() { return cpu_lacks_avx2(); }
const char* cpu_lacks_amx() { return cpu_lacks_avx2(); }

#else

const char* cpu_lacks_avx2_vnni() {
  if (const char* reason = cpu_lacks_avx2()) return reason;
  return cpu_has_avx_vnni() ? nullptr : "the processor has no AVX-VNNI (Alder Lake and Zen 5 have it)";
}

const char* cpu_lacks_avx512() {
  if (const char* reason = cpu_lacks_avx2()) return reason;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return "the processor (or the system) has no AVX-512 F, BW, DQ and VL";
  if (!__builtin_cpu_supports("avx512vbmi") || !__builtin_cpu_supports("avx512vbmi2"))
    return "the processor has no AVX-512 VBMI and VBMI2 (Ice Lake and Zen 4 have them)";
  if (!__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("avx512bitalg") ||
      !__builtin_cpu_supports("avx512vpopcntdq"))
    return "the processor has no AVX-512 VNNI, BITALG and VPOPCNTDQ";
  return nullptr;
}

const char* cpu_lacks_avx512_bf16() {
  if (const char* reason = cpu_lacks_avx512()) return reason;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5)) return "the processor has no AVX-512 BF16";
  return nullptr;
}

const char* cpu_lacks_amx() {
  if (const char* reason = cpu_lacks_avx512_bf16()) return reason;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & 1u << 24) || !(d & 1u << 22))
    return "the processor has no AMX-TILE and AMX-BF16";
  constexpr int kArchRequestPermission = 0x1023, kTileData = 18;
  static const long answer = syscall(SYS_arch_prctl, kArchRequestPermission, kTileData);
  return answer == 0 ? nullptr : "the operating system gives no permission to use AMX tiles (Linux 5.16 and later do)";
}

#endif

namespace {

bool cpu_is_amd() {
  unsigned a, b, c, d;
  char vendor[13] = {};
  if (!__get_cpuid(0, &a, &b, &c, &d)) return false;
  std::memcpy(vendor, &b, 4);
  std::memcpy(vendor + 4, &d, 4);
  std::memcpy(vendor + 8, &c, 4);
  return std::strcmp(vendor, "AuthenticAMD") == 0;
}

}  // namespace

bool cpu_has_slow_gather() {
#if defined(TERSELY_EMULATE)
  return std::getenv("TERSELY_EMULATE_SLOW_GATHER") != nullptr;  // so that both kernels are tested
#else
  return cpu_is_amd() || !cpu_has_avx_vnni();
#endif
}

const char* cpu_name() {
  static char name[49] = {};
  if (name[0] == 0) {
    unsigned words[12];
    for (unsigned i = 0; i < 3; ++i)
      if (!__get_cpuid(0x80000002 + i, &words[i * 4], &words[i * 4 + 1], &words[i * 4 + 2], &words[i * 4 + 3]))
        return "unknown x86-64";
    std::memcpy(name, words, 48);
  }
  return name;
}

#else

const char* cpu_lacks_avx2() { return "the processor is not an x86-64"; }
const char* cpu_lacks_avx2_vnni() { return "the processor is not an x86-64"; }
const char* cpu_lacks_avx512() { return "the processor is not an x86-64"; }
const char* cpu_lacks_avx512_bf16() { return "the processor is not an x86-64"; }
const char* cpu_lacks_amx() { return "the processor is not an x86-64"; }
bool cpu_has_slow_gather() { return false; }
const char* cpu_name() { return "not an x86-64"; }

#endif

}  // namespace tersely
