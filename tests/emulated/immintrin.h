// AVX-512 and AMX in plain C++, so that every machine tests the kernels of every instruction set.
//
// The build option TERSELY_EMULATE puts this folder first in the include path of the avx512, avx512_bf16 and amx
// kernels. Their sources are compiled unchanged: names in namespace tersely hide the compiler's own. Up to 256 bits the
// real intrinsics are used. Only what kernels use is here; add what they need, in the words of Intel's manual.
#pragma once

#include_next <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// Intrinsics with immediate operands are macros in some compilers.
#undef _mm512_cmp_ps_mask
#undef _mm512_cmpeq_epi32_mask
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_ph
#undef _mm512_i32gather_ps
#undef _mm512_test_epi32_mask
#undef _mm512_mask_srli_epi16
#undef _mm512_shrdi_epi16
#undef _mm512_slli_epi16
#undef _mm512_slli_epi32
#undef _mm512_srli_epi32
#undef _mm512_ternarylogic_epi64
#undef _mm256_cmpeq_epi16_mask
#undef _mm512_cmpeq_epi8_mask
#undef _mm256_dpbusd_epi32

// Calls, not inlined: kernels are unrolled, and would take minutes to compile. Without optimisation beyond -O1.
#define EMULATED __attribute__((noinline, unused))
#define HELPER inline __attribute__((always_inline))

namespace tersely {
namespace {

[[noreturn]] inline void emulation_fault(const char* what) {
  std::fprintf(stderr, "emulated instruction set: %s\n", what);
  std::abort();
}

struct alignas(64) __m512i {
  uint8_t bytes[64];
};
struct alignas(64) __m512 {
  float at[16];
};
struct alignas(64) __m512bh {
  uint8_t bytes[64];
};

// A vector as lanes of T, and back.
template <class T>
struct Lanes {
  T at[64 / sizeof(T)];
  static constexpr int count = 64 / sizeof(T);
  Lanes() = default;
  explicit Lanes(const __m512i& v) { std::memcpy(at, &v, 64); }
  explicit Lanes(const __m512bh& v) { std::memcpy(at, &v, 64); }
  operator __m512i() const {
    __m512i v;
    std::memcpy(&v, at, 64);
    return v;
  }
};
// Each lane i is f(i).
template <class T, class F>
inline __m512i each(F&& f) {
  Lanes<T> out;
  for (int i = 0; i < Lanes<T>::count; ++i) out.at[i] = static_cast<T>(f(i));
  return out;
}
template <class F>
inline __m512 each_float(F&& f) {
  __m512 out;
  for (int i = 0; i < 16; ++i) out.at[i] = f(i);
  return out;
}
HELPER bool bit(uint64_t mask, int i) { return mask >> i & 1; }

// Memory. Masked forms touch chosen lanes only, as the processor does.
EMULATED __m512i _mm512_loadu_si512(const void* from) {
  __m512i v;
  std::memcpy(&v, from, 64);
  return v;
}
EMULATED __m512i _mm512_load_si512(const void* from) {
  if (reinterpret_cast<uintptr_t>(from) % 64 != 0) emulation_fault("an aligned load of an unaligned address");
  return _mm512_loadu_si512(from);
}
EMULATED void _mm512_storeu_si512(void* to, const __m512i& v) { std::memcpy(to, &v, 64); }
EMULATED void _mm512_store_si512(void* to, const __m512i& v) {
  if (reinterpret_cast<uintptr_t>(to) % 64 != 0) emulation_fault("an aligned store to an unaligned address");
  std::memcpy(to, &v, 64);
}
EMULATED __m512 _mm512_loadu_ps(const void* from) {
  __m512 v;
  std::memcpy(&v, from, 64);
  return v;
}
EMULATED void _mm512_storeu_ps(void* to, const __m512& v) { std::memcpy(to, &v, 64); }
EMULATED __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void* from) {
  return each_float([&](int i) {
    float value = 0.0f;
    if (bit(mask, i)) std::memcpy(&value, static_cast<const uint8_t*>(from) + i * 4, 4);
    return value;
  });
}
EMULATED void _mm512_mask_storeu_ps(void* to, __mmask16 mask, const __m512& v) {
  for (int i = 0; i < 16; ++i)
    if (bit(mask, i)) std::memcpy(static_cast<uint8_t*>(to) + i * 4, &v.at[i], 4);
}
EMULATED void _mm512_mask_storeu_epi8(void* to, __mmask64 mask, const __m512i& v) {
  for (int i = 0; i < 64; ++i)
    if (bit(mask, i)) static_cast<uint8_t*>(to)[i] = v.bytes[i];
}

// What VNNI adds at 256 bits.
EMULATED __m256i _mm256_dpbusd_epi32(const __m256i& sum, const __m256i& a, const __m256i& b) {
  const __m256i even = _mm256_set1_epi16(255);
  const __m256i low = _mm256_madd_epi16(_mm256_and_si256(a, even), _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
  const __m256i high = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(low, high));
}
#undef _mm256_dpbusd_avx_epi32
EMULATED __m256i _mm256_dpbusd_avx_epi32(const __m256i& sum, const __m256i& a, const __m256i& b) {
  return _mm256_dpbusd_epi32(sum, a, b);
}

// Four unsigned bytes times four signed ones, and their sum.
EMULATED __m512i _mm512_dpbusd_epi32(const __m512i& sum, const __m512i& a, const __m512i& b) {
  const Lanes<int32_t> from(sum);
  return each<int32_t>([&](int i) {
    int32_t total = from.at[i];
    for (int k = 4 * i; k < 4 * i + 4; ++k) total += a.bytes[k] * static_cast<int8_t>(b.bytes[k]);
    return total;
  });
}

// Constants, casts, parts.
EMULATED __m512i _mm512_setzero_si512() { return __m512i{}; }
EMULATED __m512 _mm512_setzero_ps() { return __m512{}; }
EMULATED __m512i _mm512_set1_epi8(char value) {
  return each<char>([&](int) { return value; });
}
EMULATED __m512i _mm512_set1_epi16(short value) {
  return each<short>([&](int) { return value; });
}
EMULATED __m512i _mm512_set1_epi32(int value) {
  return each<int>([&](int) { return value; });
}
EMULATED __m512i _mm512_set1_epi64(long long value) {
  return each<long long>([&](int) { return value; });
}
EMULATED __m512 _mm512_set1_ps(float value) {
  return each_float([&](int) { return value; });
}
EMULATED __m512 _mm512_castsi512_ps(const __m512i& v) { return __builtin_bit_cast(__m512, v); }
// Whole numbers.
EMULATED __m512i _mm512_and_si512(const __m512i& a, const __m512i& b) {
  return each<uint64_t>([x = Lanes<uint64_t>(a), y = Lanes<uint64_t>(b)](int i) { return x.at[i] & y.at[i]; });
}
EMULATED __m512i _mm512_or_si512(const __m512i& a, const __m512i& b) {
  return each<uint64_t>([x = Lanes<uint64_t>(a), y = Lanes<uint64_t>(b)](int i) { return x.at[i] | y.at[i]; });
}
EMULATED __m512i _mm512_xor_si512(const __m512i& a, const __m512i& b) {
  return each<uint64_t>([x = Lanes<uint64_t>(a), y = Lanes<uint64_t>(b)](int i) { return x.at[i] ^ y.at[i]; });
}
// Bit (4 a + 2 b + c) of the table for the bits a, b and c of each place.
EMULATED __m512i _mm512_ternarylogic_epi64(const __m512i& a, const __m512i& b, const __m512i& c, int table) {
  const Lanes<uint64_t> x(a), y(b), z(c);
  return each<uint64_t>([&](int i) {
    uint64_t found = 0;
    for (int k = 0; k < 8; ++k) {
      const uint64_t here = (k & 4 ? x.at[i] : ~x.at[i]) & (k & 2 ? y.at[i] : ~y.at[i]) & (k & 1 ? z.at[i] : ~z.at[i]);
      if (table >> k & 1) found |= here;
    }
    return found;
  });
}
EMULATED __m512i _mm512_min_epu8(const __m512i& a, const __m512i& b) {
  return each<uint8_t>([&](int i) { return a.bytes[i] < b.bytes[i] ? a.bytes[i] : b.bytes[i]; });
}
EMULATED __m512i _mm512_subs_epu8(const __m512i& a, const __m512i& b) {
  return each<uint8_t>([&](int i) { return a.bytes[i] > b.bytes[i] ? a.bytes[i] - b.bytes[i] : 0; });
}
EMULATED __m512i _mm512_maskz_mov_epi8(__mmask64 mask, const __m512i& a) {
  return each<uint8_t>([&](int i) { return bit(mask, i) ? a.bytes[i] : 0; });
}
EMULATED __m512i _mm512_mask_mov_epi8(const __m512i& kept, __mmask64 mask, const __m512i& a) {
  return each<uint8_t>([&](int i) { return bit(mask, i) ? a.bytes[i] : kept.bytes[i]; });
}
EMULATED __m512 _mm512_mask_mov_ps(const __m512& kept, __mmask16 mask, const __m512& a) {
  return each_float([&](int i) { return bit(mask, i) ? a.at[i] : kept.at[i]; });
}
EMULATED __m512i _mm512_mask_add_epi8(const __m512i& kept, __mmask64 mask, const __m512i& a, const __m512i& b) {
  return each<uint8_t>([&](int i) { return bit(mask, i) ? a.bytes[i] + b.bytes[i] : kept.bytes[i]; });
}
EMULATED __m512i _mm512_add_epi8(const __m512i& a, const __m512i& b) {
  return each<uint8_t>([&](int i) { return a.bytes[i] + b.bytes[i]; });
}
EMULATED __m512i _mm512_mask_sub_epi8(const __m512i& kept, __mmask64 mask, const __m512i& a, const __m512i& b) {
  return each<uint8_t>([&](int i) { return bit(mask, i) ? a.bytes[i] - b.bytes[i] : kept.bytes[i]; });
}
EMULATED __m512i _mm512_mask_add_epi16(const __m512i& kept, __mmask32 mask, const __m512i& a, const __m512i& b) {
  const Lanes<uint16_t> x(a), y(b), k(kept);
  return each<uint16_t>([&](int i) { return bit(mask, i) ? x.at[i] + y.at[i] : k.at[i]; });
}
// Shifts: a count past the lane's width gives zero.
template <class T>
inline __m512i shift_left(const __m512i& a, uint64_t count) {
  const Lanes<T> x(a);
  return each<T>([&](int i) { return count < sizeof(T) * 8 ? static_cast<uint64_t>(x.at[i]) << count : 0; });
}
EMULATED __m512i _mm512_slli_epi16(const __m512i& a, unsigned count) { return shift_left<uint16_t>(a, count); }
EMULATED __m512i _mm512_slli_epi32(const __m512i& a, unsigned count) { return shift_left<uint32_t>(a, count); }
EMULATED __m512i _mm512_srli_epi32(const __m512i& a, unsigned count) {
  return each<uint32_t>([&, x = Lanes<uint32_t>(a)](int i) { return count < 32 ? x.at[i] >> count : 0; });
}
EMULATED __m512i _mm512_srl_epi32(const __m512i& a, __m128i count) {
  const auto by = static_cast<uint64_t>(_mm_cvtsi128_si64(count));
  return each<uint32_t>([&, x = Lanes<uint32_t>(a)](int i) { return by < 32 ? x.at[i] >> by : 0; });
}
EMULATED __m512i _mm512_sll_epi16(const __m512i& a, __m128i count) {
  return shift_left<uint16_t>(a, static_cast<uint64_t>(_mm_cvtsi128_si64(count)));
}
EMULATED __m512i _mm512_mask_srli_epi16(const __m512i& kept, __mmask32 mask, const __m512i& a, unsigned count) {
  const Lanes<uint16_t> x(a), k(kept);
  return each<uint16_t>([&](int i) { return !bit(mask, i) ? k.at[i] : count < 16 ? x.at[i] >> count : 0; });
}
// The low word of (b ++ a) shifted right.
EMULATED __m512i _mm512_shrdi_epi16(const __m512i& a, const __m512i& b, int count) {
  const Lanes<uint16_t> x(a), y(b);
  return each<uint16_t>([&](int i) { return (static_cast<uint32_t>(y.at[i]) << 16 | x.at[i]) >> (count & 15); });
}
EMULATED __mmask64 _mm512_cmpeq_epi8_mask(const __m512i& a, const __m512i& b) {
  __mmask64 mask = 0;
  for (int i = 0; i < 64; ++i) mask |= static_cast<__mmask64>(a.bytes[i] == b.bytes[i]) << i;
  return mask;
}
EMULATED __mmask16 _mm256_cmpeq_epi16_mask(__m256i a, __m256i b) {
  const auto both = static_cast<unsigned>(_mm256_movemask_epi8(_mm256_cmpeq_epi16(a, b)));
  return static_cast<__mmask16>(_pext_u32(both, 0x55555555u));
}
EMULATED __mmask64 _mm512_movepi8_mask(const __m512i& a) {
  __mmask64 mask = 0;
  for (int i = 0; i < 64; ++i) mask |= static_cast<__mmask64>(a.bytes[i] >> 7) << i;
  return mask;
}
EMULATED __m512i _mm512_cvtepu16_epi32(__m256i a) {
  uint16_t words[16];
  std::memcpy(words, &a, 32);
  return each<uint32_t>([&](int i) { return words[i]; });
}

EMULATED __m512i _mm512_cvtepu8_epi32(__m128i a) {
  uint8_t bytes[16];
  std::memcpy(bytes, &a, 16);
  return each<uint32_t>([&](int i) { return bytes[i]; });
}
EMULATED __m512i _mm512_cvtepi8_epi32(__m128i a) {
  int8_t bytes[16];
  std::memcpy(bytes, &a, 16);
  return each<uint32_t>([&](int i) { return static_cast<uint32_t>(int32_t{bytes[i]}); });
}
EMULATED __mmask16 _mm512_cmpeq_epi32_mask(const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b);
  __mmask16 mask = 0;
  for (int i = 0; i < 16; ++i) mask = static_cast<__mmask16>(mask | (x.at[i] == y.at[i]) << i);
  return mask;
}
EMULATED __m512i _mm512_sub_epi32(const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b);
  return each<uint32_t>([&](int i) { return x.at[i] - y.at[i]; });
}
// Two products of 16 bits, and their sum.
EMULATED __m512i _mm512_madd_epi16(const __m512i& a, const __m512i& b) {
  const Lanes<int16_t> x(a), y(b);
  return each<uint32_t>([&](int i) {
    return static_cast<uint32_t>(x.at[2 * i] * y.at[2 * i]) + static_cast<uint32_t>(x.at[2 * i + 1] * y.at[2 * i + 1]);
  });
}
// The lowest byte of each.
EMULATED __m128i _mm512_cvtepi32_epi8(const __m512i& a) {
  uint8_t bytes[16];
  for (int i = 0; i < 16; ++i) bytes[i] = a.bytes[4 * i];
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}
EMULATED __m512i _mm512_add_epi32(const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b);
  return each<uint32_t>([&](int i) { return x.at[i] + y.at[i]; });
}
EMULATED __m512i _mm512_min_epu32(const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b);
  return each<uint32_t>([&](int i) { return x.at[i] < y.at[i] ? x.at[i] : y.at[i]; });
}
EMULATED __mmask16 _mm512_test_epi32_mask(const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b);
  __mmask16 mask = 0;
  for (int i = 0; i < 16; ++i) mask = static_cast<__mmask16>(mask | ((x.at[i] & y.at[i]) != 0) << i);
  return mask;
}
EMULATED __m512i _mm512_castps_si512(const __m512& a) {
  __m512i out;
  std::memcpy(&out, &a, 64);
  return out;
}

// Floats.
EMULATED __m512 _mm512_add_ps(const __m512& a, const __m512& b) {
  return each_float([&](int i) { return a.at[i] + b.at[i]; });
}
EMULATED __m512 _mm512_sub_ps(const __m512& a, const __m512& b) {
  return each_float([&](int i) { return a.at[i] - b.at[i]; });
}
EMULATED __m512 _mm512_cvtepi32_ps(const __m512i& a) {
  const Lanes<int32_t> x(a);
  return each_float([&](int i) { return static_cast<float>(x.at[i]); });
}
// Rounding as the environment says, to nearest even; what is no int32 becomes the least one.
EMULATED __m512i _mm512_cvtps_epi32(const __m512& a) {
  return each<int32_t>([&](int i) {
    const float rounded = std::nearbyint(a.at[i]);
    return rounded >= -2147483648.0F && rounded < 2147483648.0F ? static_cast<int32_t>(rounded) : INT32_MIN;
  });
}
EMULATED __m512 _mm512_abs_ps(const __m512& a) {
  return each_float([&](int i) { return std::fabs(a.at[i]); });
}
EMULATED __m512 _mm512_div_ps(const __m512& a, const __m512& b) {
  return each_float([&](int i) { return a.at[i] / b.at[i]; });
}
EMULATED __mmask16 _mm512_cmp_ps_mask(const __m512& a, const __m512& b, int predicate) {
  if (predicate != _CMP_GT_OQ) emulation_fault("a comparison that no kernel has asked for");
  __mmask16 found = 0;
  for (int i = 0; i < 16; ++i) found = static_cast<__mmask16>(found | (a.at[i] > b.at[i]) << i);
  return found;
}
EMULATED __m512 _mm512_mul_ps(const __m512& a, const __m512& b) {
  return each_float([&](int i) { return a.at[i] * b.at[i]; });
}
// The second operand where one is NaN, or both are zeros.
EMULATED __m512 _mm512_max_ps(const __m512& a, const __m512& b) {
  return each_float([&](int i) { return a.at[i] > b.at[i] ? a.at[i] : b.at[i]; });
}
EMULATED __m512 _mm512_min_ps(const __m512& a, const __m512& b) {
  return each_float([&](int i) { return a.at[i] < b.at[i] ? a.at[i] : b.at[i]; });
}
EMULATED __m512 _mm512_fmadd_ps(const __m512& a, const __m512& b, const __m512& c) {
  return each_float([&](int i) { return __builtin_fmaf(a.at[i], b.at[i], c.at[i]); });
}
EMULATED __m512 _mm512_mask3_fmadd_ps(const __m512& a, const __m512& b, const __m512& c, __mmask16 mask) {
  return each_float([&](int i) { return bit(mask, i) ? __builtin_fmaf(a.at[i], b.at[i], c.at[i]) : c.at[i]; });
}
EMULATED __m512 _mm512_i32gather_ps(const __m512i& index, const void* from, int scale) {
  const Lanes<int32_t> at(index);
  return each_float([&](int i) {
    float value;
    std::memcpy(&value, static_cast<const uint8_t*>(from) + int64_t{at.at[i]} * scale, 4);
    return value;
  });
}
EMULATED __m256i _mm512_cvtps_ph(const __m512& a, int rounding) {
  (void)rounding;  // to nearest even is all that kernels ask for
  __m256 parts[2];
  std::memcpy(parts, &a, 64);
  const __m128i low = _mm256_cvtps_ph(parts[0], _MM_FROUND_TO_NEAREST_INT);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm256_cvtps_ph(parts[1], _MM_FROUND_TO_NEAREST_INT), 1);
}
EMULATED __m512 _mm512_cvtph_ps(__m256i a) {
  const __m256 parts[2] = {_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1))};
  __m512 out;
  std::memcpy(&out, parts, 64);
  return out;
}

}  // namespace
}  // namespace tersely

#include "bfloat16.h"
#include "integers.h"
#include "lanes.h"
#include "words.h"
