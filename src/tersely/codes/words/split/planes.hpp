// 64 small fields to bit planes: bit i of plane k is bit k of field i.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tersely {

// Writes `width` little-endian 64-bit words, `stride` words apart.
inline void pack_planes(const uint8_t* fields, int width, uint8_t* out, int64_t stride) {
  for (int k = 0; k < width; ++k) {
    uint64_t plane = 0;
#if defined(__SSE2__)
    for (int quarter = 0; quarter < 4; ++quarter) {
      const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(fields) + quarter);
      // Bit k of each byte to its top; bits that cross from the byte below stay under the top bit.
      const auto mask = static_cast<unsigned>(_mm_movemask_epi8(_mm_slli_epi16(values, 7 - k)));
      plane |= static_cast<uint64_t>(mask) << (quarter * 16);
    }
#else
    for (int i = 0; i < 64; ++i) plane |= static_cast<uint64_t>(fields[i] >> k & 1) << i;
#endif
    std::memcpy(out + k * stride * 8, &plane, 8);
  }
}

}  // namespace tersely
