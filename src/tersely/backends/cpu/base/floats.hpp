// The floating-point environment of the calling thread while one of these lives; then what it was.
//
// Why: other libraries leave threads that flush subnormals to zero (torch.set_flush_denormal, options of inference
// engines) or round otherwise, and a new thread inherits that from the one that made it. What is stored, and which
// worker computes what, must not depend on it. Exceptions that were raised meanwhile are forgotten with the rest.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

namespace tersely {

#if defined(__x86_64__)

// MXCSR alone: nothing here computes with x87. Its bits but for those of exceptions that were raised.
using FloatControl = unsigned;
inline constexpr FloatControl kDefaultFloats = 0x1f80, kFlushResults = 0x8000, kFlushOperands = 0x0040;
inline FloatControl floats_here() { return _mm_getcsr() & ~0x3fU; }

class Floats {
 public:
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  // Setting it costs more than looking, and it seldom must be set.
  explicit Floats(FloatControl wanted) : before_(_mm_getcsr()), changed_((before_ & ~0x3fU) != wanted) {
    if (changed_) _mm_setcsr(wanted);
  }
  ~Floats() {
    if (changed_) _mm_setcsr(before_);
  }

 private:
  unsigned before_;
  bool changed_;
};

#else

// Subnormals are kept in all of them: how they are flushed, the C library does not know.
enum class FloatControl { kDefault };
inline constexpr FloatControl kDefaultFloats = FloatControl::kDefault;
inline FloatControl floats_here() { return kDefaultFloats; }

class Floats {
 public:
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  explicit Floats(FloatControl) {
    std::fegetenv(&before_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~Floats() { std::fesetenv(&before_); }

 private:
  std::fenv_t before_;
};

#endif

// Rounding to nearest, subnormals kept.
class DefaultFloats : public Floats {
 public:
  DefaultFloats() : Floats(kDefaultFloats) {}
  // Whether the thread has it anyway, for tests.
  static bool here() {
#if defined(__x86_64__)
    return floats_here() == kDefaultFloats;
#else
    return std::fegetround() == FE_TONEAREST;
#endif
  }
};

// Rounding to nearest; subnormal operands and results count as zero, where the processor can: each costs some hundred
// cycles otherwise, and values of a network that small decide nothing.
class FlushedFloats : public Floats {
 public:
#if defined(__x86_64__)
  FlushedFloats() : Floats(kDefaultFloats | kFlushResults | kFlushOperands) {}
#else
  FlushedFloats() : Floats(kDefaultFloats) {}
#endif
};

// The same of results alone: for kernels that multiply a subnormal scale to a weight that is none.
class FlushedResults : public Floats {
 public:
#if defined(__x86_64__)
  FlushedResults() : Floats(kDefaultFloats | kFlushResults) {}
#else
  FlushedResults() : Floats(kDefaultFloats) {}
#endif
};

}  // namespace tersely
