// Copies past the cache, for outputs that no cache holds: a store that first reads its line moves half as much again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tersely {

// Outputs from here on are streamed. Below, who decodes is likely to read the result from its cache.
constexpr int64_t kStreamBytes = int64_t{1} << 23;

// Whole lines past the cache, their edges as usual. Call `finish_stream` before another thread may read them.
inline void stream_copy(uint8_t* out, const uint8_t* from, int64_t bytes) {
#if defined(__SSE2__)
  const int64_t head = std::min<int64_t>(bytes, static_cast<int64_t>(-reinterpret_cast<uintptr_t>(out) & 63));
  std::memcpy(out, from, static_cast<size_t>(head));
  int64_t at = head;
  for (; at + 64 <= bytes; at += 64) {
    __m128i line[4];
    for (int i = 0; i < 4; ++i) line[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at) + i);
    for (int i = 0; i < 4; ++i) _mm_stream_si128(reinterpret_cast<__m128i*>(out + at) + i, line[i]);
  }
  std::memcpy(out + at, from + at, static_cast<size_t>(bytes - at));
#else
  std::memcpy(out, from, static_cast<size_t>(bytes));
#endif
}

inline void finish_stream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace tersely
