// Bringing to a worker's cache what other workers have written.
#pragma once

#include <cstdint>

namespace tersely {

// Half of the second-level cache of most processors that have large ones.
inline constexpr int64_t kBroughtFloats = 131072;

// Of what a worker is about to read again and again. MEASURED (Zen 5, cores without a common cache): asked for one
// after another, lines from another core come every 2 ns; a product that meets them by itself waits 10 to 25 ns for
// each.
inline void bring(const float* from, int64_t floats) {
  for (int64_t i = 0; i < floats; i += 16) __builtin_prefetch(from + i, 0, 2);
}

}  // namespace tersely
