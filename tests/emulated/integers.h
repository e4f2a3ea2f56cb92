// Numbers of 32 bits: products, comparisons, gathers; included by immintrin.h.
#pragma once

#undef _mm512_cmplt_epu32_mask
#undef _mm512_i32gather_epi32
#undef _mm512_ternarylogic_epi32

namespace tersely {
namespace {

EMULATED __m512i _mm512_ternarylogic_epi32(const __m512i& a, const __m512i& b, const __m512i& c, int table) {
  return _mm512_ternarylogic_epi64(a, b, c, table);
}
EMULATED __mmask16 _mm512_cmplt_epu32_mask(const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b);
  __mmask16 mask = 0;
  for (int i = 0; i < 16; ++i) mask = static_cast<__mmask16>(mask | (x.at[i] < y.at[i]) << i);
  return mask;
}
EMULATED __m512i _mm512_mask_or_epi32(const __m512i& kept, __mmask16 mask, const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> old(kept), x(a), y(b);
  return each<uint32_t>([&](int i) { return bit(mask, i) ? x.at[i] | y.at[i] : old.at[i]; });
}
EMULATED __m512i _mm512_mullo_epi32(const __m512i& a, const __m512i& b) {
  const Lanes<uint32_t> x(a), y(b);
  return each<uint32_t>([&](int i) { return x.at[i] * y.at[i]; });
}
EMULATED __m512i _mm512_i32gather_epi32(const __m512i& index, const void* from, int scale) {
  const Lanes<int32_t> at(index);
  return each<uint32_t>([&](int i) {
    uint32_t value;
    std::memcpy(&value, static_cast<const uint8_t*>(from) + int64_t{at.at[i]} * scale, 4);
    return value;
  });
}

}  // namespace
}  // namespace tersely
