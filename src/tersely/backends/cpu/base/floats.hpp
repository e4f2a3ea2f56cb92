// The floating-point environment of the calling thread: rounding to nearest and subnormals kept, while one of these
// lives; then what it was.
//
// Why: other libraries leave threads that flush subnormals to zero (torch.set_flush_denormal, options of inference
// engines), and a new thread inherits that from the one that made it. What is stored, and which worker computes what,
// must not depend on it. Exceptions that were raised meanwhile are forgotten with the rest.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

namespace tersely {

class DefaultFloats {
 public:
  DefaultFloats(const DefaultFloats&) = delete;
  DefaultFloats& operator=(const DefaultFloats&) = delete;

#if defined(__x86_64__)
  // MXCSR alone: nothing here computes with x87. Setting it costs more than looking, and it seldom must be set.
  DefaultFloats() : before_(_mm_getcsr()) {
    if ((before_ & ~kRaised) != kDefault) _mm_setcsr(kDefault);
  }
  // Whether the thread has it anyway, for tests.
  static bool here() { return (_mm_getcsr() & ~kRaised) == kDefault; }
  ~DefaultFloats() {
    if ((before_ & ~kRaised) != kDefault) _mm_setcsr(before_);
  }

 private:
  static constexpr unsigned kDefault = 0x1f80, kRaised = 0x3f;
  unsigned before_;
#else
  DefaultFloats() {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  static bool here() { return std::fegetround() == FE_TONEAREST; }
  ~DefaultFloats() { std::fesetenv(&before_); }

 private:
  std::fenv_t before_;
#endif
};

}  // namespace tersely
