/* A handler of the trap that stands where a library asked the processor what it is (held.py): it asks, and hides what
   is more than AVX2 and FMA. Loaded before anything else, so that no library is started before it. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

int64_t tersely_held_asked = 0;

/* Leaf 7, subleaf 0: AVX-512 and its parts, AMX. */
static const uint32_t kHiddenB = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31;
static const uint32_t kHiddenC = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;
static const uint32_t kHiddenD = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25;
/* Subleaf 1: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA; AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16,
   AVX10. */
static const uint32_t kHiddenA1 = 1u << 4 | 1u << 5 | 1u << 21 | 1u << 23;
static const uint32_t kHiddenD1 = 1u << 4 | 1u << 5 | 1u << 8 | 1u << 10 | 1u << 19;

static void answer(int signal, siginfo_t* info, void* given) {
  greg_t* registers = ((ucontext_t*)given)->uc_mcontext.gregs;
  const uint32_t leaf = (uint32_t)registers[REG_RAX], subleaf = (uint32_t)registers[REG_RCX];
  uint32_t a, b, c, d;
  __cpuid_count(leaf, subleaf, a, b, c, d);
  if (leaf == 7 && subleaf == 0) {
    b &= ~kHiddenB;
    c &= ~kHiddenC;
    d &= ~kHiddenD;
  } else if (leaf == 7 && subleaf == 1) {
    a &= ~kHiddenA1;
    d &= ~kHiddenD1;
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  __atomic_add_fetch(&tersely_held_asked, 1, __ATOMIC_RELAXED);
  (void)signal;
  (void)info;
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGTRAP, &action, 0);
}
