// Bytes out of and into their positions under a mask: what AVX-512 has instructions for, here eight at a time by a byte
// shuffle whose pattern a table holds for each eight bits of the mask.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tersely {
namespace {

struct ShufflePatterns {
  uint64_t compress[256];  // positions of the set bits, in order
  uint64_t expand[256];    // for each position the number of its bit among the set ones; 0x80 (zero) where none is set
};

constexpr ShufflePatterns make_patterns() {
  ShufflePatterns patterns{};
  for (int mask = 0; mask < 256; ++mask) {
    int count = 0;
    for (int bit = 0; bit < 8; ++bit) {
      if (!(mask >> bit & 1)) {
        patterns.expand[mask] |= uint64_t{0x80} << (8 * bit);
        continue;
      }
      patterns.compress[mask] |= static_cast<uint64_t>(bit) << (8 * count);
      patterns.expand[mask] |= static_cast<uint64_t>(count) << (8 * bit);
      ++count;
    }
  }
  return patterns;
}

constexpr ShufflePatterns kPatterns = make_patterns();

inline __attribute__((always_inline)) uint64_t byte_mask(__m256i low, __m256i high) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(low)) |
         static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(high))) << 32;
}

// The bytes of the mask, in order, to `out`, which has room for 64. Returns how many there are.
inline __attribute__((always_inline)) int64_t compress_bytes(const uint8_t* bytes, uint64_t mask, uint8_t* out) {
  uint8_t* at = out;
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) {
    const uint64_t eight = mask >> (8 * k) & 255;
    const __m128i pattern = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&kPatterns.compress[eight]));
    const __m128i some = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8 * k));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(at), _mm_shuffle_epi8(some, pattern));
    at += _mm_popcnt_u64(eight);
  }
  return at - out;
}

// The next bytes of `from` at the positions of the mask, zeros elsewhere. Reads 64 bytes of `from` at most.
inline __attribute__((always_inline)) void expand_bytes(const uint8_t* from, uint64_t mask, __m256i (&out)[2]) {
  __m128i some[8];
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) {
    const uint64_t before = mask & ((uint64_t{1} << (8 * k)) - 1);  // each position by itself: no chain of additions
    const __m128i pattern = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&kPatterns.expand[mask >> (8 * k) & 255]));
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + _mm_popcnt_u64(before)));
    some[k] = _mm_shuffle_epi8(bytes, pattern);
  }
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half)
    out[half] = _mm256_set_m128i(_mm_unpacklo_epi64(some[half * 4 + 2], some[half * 4 + 3]),
                                 _mm_unpacklo_epi64(some[half * 4], some[half * 4 + 1]));
}

}  // namespace
}  // namespace tersely
