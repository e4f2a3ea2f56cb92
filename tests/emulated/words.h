// Words of bytes, and lanes of 64 bits: packing, rotating, masked arithmetic; included by immintrin.h.
#pragma once

#undef _mm512_mask_srli_epi32
#undef _mm512_rol_epi32
#undef _mm512_ror_epi32
#undef _mm512_srli_epi16

namespace tersely {
namespace {

// Memory. Masked forms touch chosen lanes only.
EMULATED __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void* from) {
  return each<uint8_t>([&](int i) { return bit(mask, i) ? static_cast<const uint8_t*>(from)[i] : 0; });
}
EMULATED void _mm256_mask_storeu_epi16(void* to, __mmask16 mask, __m256i v) {
  uint16_t words[16];
  std::memcpy(words, &v, 32);
  for (int i = 0; i < 16; ++i)
    if (bit(mask, i)) std::memcpy(static_cast<uint8_t*>(to) + 2 * i, words + i, 2);
}

// The first is of the lowest lane but the last in the list.
EMULATED __m512i _mm512_set_epi64(long long h, long long g, long long f, long long e, long long d, long long c,
                                  long long b, long long a) {
  const long long all[8] = {a, b, c, d, e, f, g, h};
  return each<long long>([&](int i) { return all[i]; });
}
EMULATED __m512i _mm512_andnot_si512(const __m512i& a, const __m512i& b) {
  return each<uint64_t>([x = Lanes<uint64_t>(a), y = Lanes<uint64_t>(b)](int i) { return ~x.at[i] & y.at[i]; });
}
EMULATED __m512i _mm512_mask_blend_epi8(__mmask64 mask, const __m512i& a, const __m512i& b) {
  return each<uint8_t>([&](int i) { return bit(mask, i) ? b.bytes[i] : a.bytes[i]; });
}
EMULATED __mmask64 _mm512_test_epi8_mask(const __m512i& a, const __m512i& b) {
  __mmask64 mask = 0;
  for (int i = 0; i < 64; ++i) mask |= static_cast<__mmask64>((a.bytes[i] & b.bytes[i]) != 0) << i;
  return mask;
}
EMULATED __mmask16 _mm512_movepi32_mask(const __m512i& a) {
  const Lanes<uint32_t> x(a);
  __mmask16 mask = 0;
  for (int i = 0; i < 16; ++i) mask = static_cast<__mmask16>(mask | x.at[i] >> 31 << i);
  return mask;
}

// Shifts and rotations.
EMULATED __m512i _mm512_srli_epi16(const __m512i& a, unsigned count) {
  return each<uint16_t>([&, x = Lanes<uint16_t>(a)](int i) { return count < 16 ? x.at[i] >> count : 0; });
}
EMULATED __m512i _mm512_mask_srli_epi32(const __m512i& kept, __mmask16 mask, const __m512i& a, unsigned count) {
  const Lanes<uint32_t> x(a), k(kept);
  return each<uint32_t>([&](int i) { return !bit(mask, i) ? k.at[i] : count < 32 ? x.at[i] >> count : 0; });
}
EMULATED __m512i _mm512_srlv_epi64(const __m512i& a, const __m512i& counts) {
  const Lanes<uint64_t> x(a), by(counts);
  return each<uint64_t>([&](int i) { return by.at[i] < 64 ? x.at[i] >> by.at[i] : 0; });
}
EMULATED __m512i _mm512_sllv_epi64(const __m512i& a, const __m512i& counts) {
  const Lanes<uint64_t> x(a), by(counts);
  return each<uint64_t>([&](int i) { return by.at[i] < 64 ? x.at[i] << by.at[i] : 0; });
}
EMULATED __m512i _mm512_rol_epi32(const __m512i& a, int count) {
  const Lanes<uint32_t> x(a);
  return each<uint32_t>([&](int i) { return x.at[i] << (count & 31) | x.at[i] >> (-count & 31); });
}
EMULATED __m512i _mm512_ror_epi32(const __m512i& a, int count) { return _mm512_rol_epi32(a, -count); }

// Words of 16 bits.
EMULATED __m512i _mm512_cvtepu8_epi16(__m256i a) {
  uint8_t bytes[32];
  std::memcpy(bytes, &a, 32);
  return each<uint16_t>([&](int i) { return bytes[i]; });
}
EMULATED __m512i _mm512_cvtepi8_epi16(__m256i a) {
  int8_t bytes[32];
  std::memcpy(bytes, &a, 32);
  return each<int16_t>([&](int i) { return bytes[i]; });
}
EMULATED __m512i _mm512_dpwssd_epi32(const __m512i& sum, const __m512i& a, const __m512i& b) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}
EMULATED __m512i _mm512_add_epi16(const __m512i& a, const __m512i& b) {
  return each<uint16_t>([x = Lanes<uint16_t>(a), y = Lanes<uint16_t>(b)](int i) { return x.at[i] + y.at[i]; });
}

// Arithmetic of 32 bits.
EMULATED __m512i _mm512_mask_add_epi32(const __m512i& kept, __mmask16 mask, const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b), k(kept);
  return each<uint32_t>([&](int i) { return bit(mask, i) ? x.at[i] + y.at[i] : k.at[i]; });
}
EMULATED __m512i _mm512_mask_sub_epi32(const __m512i& kept, __mmask16 mask, const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b), k(kept);
  return each<uint32_t>([&](int i) { return bit(mask, i) ? x.at[i] - y.at[i] : k.at[i]; });
}
EMULATED __m512 _mm512_cvtepu32_ps(const __m512i& a) {
  const Lanes<uint32_t> x(a);
  return each_float([&](int i) { return static_cast<float>(x.at[i]); });
}
// Towards zero; what is no uint32 becomes the greatest one.
EMULATED __m512i _mm512_cvttps_epu32(const __m512& a) {
  return each<uint32_t>(
      [&](int i) { return a.at[i] > -1.0F && a.at[i] < 4294967296.0F ? static_cast<uint32_t>(a.at[i]) : UINT32_MAX; });
}

// Moving lanes.
EMULATED __m512i _mm512_maskz_compress_epi32(__mmask16 mask, const __m512i& a) {
  const Lanes<uint32_t> x(a);
  Lanes<uint32_t> out(__m512i{});
  int next = 0;
  for (int i = 0; i < 16; ++i)
    if (bit(mask, i)) out.at[next++] = x.at[i];
  return out;
}
EMULATED __m512i _mm512_permutexvar_epi64(const __m512i& index, const __m512i& a) {
  const Lanes<uint64_t> at(index), x(a);
  return each<uint64_t>([&](int i) { return x.at[at.at[i] & 7]; });
}
EMULATED __m512i _mm512_permutex2var_epi64(const __m512i& a, const __m512i& index, const __m512i& b) {
  const Lanes<uint64_t> x(a), y(b), at(index);
  return each<uint64_t>([&](int i) { return at.at[i] & 8 ? y.at[at.at[i] & 7] : x.at[at.at[i] & 7]; });
}
// Signed words as unsigned bytes, held to 0..255: eight of a, then eight of b, in each 128 bits.
EMULATED __m512i _mm512_packus_epi16(const __m512i& a, const __m512i& b) {
  const Lanes<int16_t> x(a), y(b);
  return each<uint8_t>([&](int i) {
    const int at = i / 16 * 8 + i % 8, word = i % 16 < 8 ? x.at[at] : y.at[at];
    return word < 0 ? 0 : word > 255 ? 255 : word;
  });
}

}  // namespace
}  // namespace tersely
