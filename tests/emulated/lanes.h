// Parts of vectors, and moving lanes; included by immintrin.h.
#pragma once

#undef _mm512_extracti32x4_epi32
#undef _mm512_extracti64x4_epi64
#undef _mm512_inserti64x4
#undef _mm512_shuffle_i32x4

namespace tersely {
namespace {

template <int Bytes, class Part>
inline Part part_of(const __m512i& v, int index) {
  Part part;
  std::memcpy(&part, v.bytes + index * Bytes, Bytes);
  return part;
}
EMULATED __m128i _mm512_castsi512_si128(const __m512i& v) { return part_of<16, __m128i>(v, 0); }
EMULATED __m256i _mm512_castsi512_si256(const __m512i& v) { return part_of<32, __m256i>(v, 0); }
EMULATED __m128i _mm512_extracti32x4_epi32(const __m512i& v, int index) { return part_of<16, __m128i>(v, index & 3); }
EMULATED __m256i _mm512_extracti64x4_epi64(const __m512i& v, int index) { return part_of<32, __m256i>(v, index & 1); }
template <int Bytes, class Part>
inline __m512i repeat(Part part) {
  __m512i out;
  for (int i = 0; i < 64; i += Bytes) std::memcpy(out.bytes + i, &part, Bytes);
  return out;
}
EMULATED __m512i _mm512_broadcast_i32x4(__m128i part) { return repeat<16>(part); }
EMULATED __m512i _mm512_broadcast_i64x4(__m256i part) { return repeat<32>(part); }
// What lies above is undefined for a processor; zeros here.
EMULATED __m512i _mm512_castsi256_si512(__m256i part) {
  __m512i out{};
  std::memcpy(out.bytes, &part, 32);
  return out;
}
EMULATED __m512 _mm512_castps128_ps512(__m128 part) {
  __m512 out{};
  std::memcpy(out.at, &part, 16);
  return out;
}
template <class Part>
inline __m512i _mm512_inserti64x4(const __m512i& v, Part part, int index) {
  static_assert(sizeof(Part) == 32);
  __m512i out = v;
  std::memcpy(out.bytes + (index & 1) * 32, &part, 32);
  return out;
}

// Moving lanes.
EMULATED __m512i _mm512_mask_expand_epi8(const __m512i& kept, __mmask64 mask, const __m512i& a) {
  int next = 0;
  return each<uint8_t>([&](int i) { return bit(mask, i) ? a.bytes[next++] : kept.bytes[i]; });
}
EMULATED __m512i _mm512_mask_expand_epi16(const __m512i& kept, __mmask32 mask, const __m512i& a) {
  const Lanes<uint16_t> old(kept), x(a);
  int next = 0;
  return each<uint16_t>([&](int i) { return bit(mask, i) ? x.at[next++] : old.at[i]; });
}
EMULATED __m512i _mm512_mask_expand_epi32(const __m512i& kept, __mmask16 mask, const __m512i& a) {
  const Lanes<uint32_t> old(kept), x(a);
  int next = 0;
  return each<uint32_t>([&](int i) { return bit(mask, i) ? x.at[next++] : old.at[i]; });
}
EMULATED __m512i _mm512_maskz_expand_epi32(__mmask16 mask, const __m512i& a) {
  return _mm512_mask_expand_epi32(__m512i{}, mask, a);
}
EMULATED __m512i _mm512_maskz_compress_epi8(__mmask64 mask, const __m512i& a) {
  __m512i out{};
  int next = 0;
  for (int i = 0; i < 64; ++i)
    if (bit(mask, i)) out.bytes[next++] = a.bytes[i];
  return out;
}
EMULATED __m512i _mm512_shuffle_epi8(const __m512i& table, const __m512i& index) {
  return each<uint8_t>([&](int i) {
    const uint8_t at = index.bytes[i];
    return at & 0x80 ? 0 : table.bytes[(i & ~15) + (at & 15)];
  });
}
EMULATED __m512i _mm512_permutexvar_epi8(const __m512i& index, const __m512i& a) {
  return each<uint8_t>([&](int i) { return a.bytes[index.bytes[i] & 63]; });
}
EMULATED __m512 _mm512_permutexvar_ps(const __m512i& index, const __m512& a) {
  const Lanes<uint32_t> at(index);
  __m512 out;
  for (int i = 0; i < 16; ++i) std::memcpy(&out.at[i], &a.at[at.at[i] & 15], 4);
  return out;
}
EMULATED __m512 _mm512_permutex2var_ps(const __m512& a, const __m512i& index, const __m512& b) {
  const Lanes<uint32_t> at(index);
  __m512 out;
  for (int i = 0; i < 16; ++i) std::memcpy(&out.at[i], at.at[i] & 16 ? &b.at[at.at[i] & 15] : &a.at[at.at[i] & 15], 4);
  return out;
}
EMULATED __m512 _mm512_maskz_permutex2var_ps(__mmask16 mask, const __m512& a, const __m512i& index, const __m512& b) {
  __m512 out = _mm512_permutex2var_ps(a, index, b);
  for (int i = 0; i < 16; ++i)
    if ((mask >> i & 1) == 0) out.at[i] = 0;
  return out;
}
EMULATED __m256i _mm512_cvtepi32_epi16(const __m512i& a) {
  const Lanes<uint32_t> x(a);
  uint16_t words[16];
  for (int i = 0; i < 16; ++i) words[i] = static_cast<uint16_t>(x.at[i]);
  __m256i out;
  std::memcpy(&out, words, 32);
  return out;
}
EMULATED __m512i _mm512_permutex2var_epi8(const __m512i& a, const __m512i& index, const __m512i& b) {
  return each<uint8_t>([&](int i) {
    const uint8_t at = index.bytes[i];
    return at & 64 ? b.bytes[at & 63] : a.bytes[at & 63];
  });
}
// Four parts of 128 bits: two chosen from a, then two from b.
EMULATED __m512i _mm512_shuffle_i32x4(const __m512i& a, const __m512i& b, int chosen) {
  __m512i out;
  for (int i = 0; i < 4; ++i) std::memcpy(out.bytes + i * 16, (i < 2 ? a : b).bytes + (chosen >> (2 * i) & 3) * 16, 16);
  return out;
}
// Lanes of a and b by turns, from the lower or upper half of each 128 bits.
template <class T>
inline __m512i interleave(const __m512i& a, const __m512i& b, bool upper) {
  constexpr int lanes = 16 / sizeof(T);
  const Lanes<T> x(a), y(b);
  return each<T>([&](int i) {
    const int from = i / lanes * lanes + (upper ? lanes / 2 : 0) + i % lanes / 2;
    return i % 2 == 0 ? x.at[from] : y.at[from];
  });
}
EMULATED __m512i _mm512_unpacklo_epi8(const __m512i& a, const __m512i& b) { return interleave<uint8_t>(a, b, false); }
EMULATED __m512i _mm512_unpackhi_epi8(const __m512i& a, const __m512i& b) { return interleave<uint8_t>(a, b, true); }
EMULATED __m512i _mm512_unpacklo_epi16(const __m512i& a, const __m512i& b) { return interleave<uint16_t>(a, b, false); }
EMULATED __m512i _mm512_unpackhi_epi16(const __m512i& a, const __m512i& b) { return interleave<uint16_t>(a, b, true); }
EMULATED __m512i _mm512_unpacklo_epi32(const __m512i& a, const __m512i& b) { return interleave<uint32_t>(a, b, false); }
EMULATED __m512i _mm512_unpackhi_epi32(const __m512i& a, const __m512i& b) { return interleave<uint32_t>(a, b, true); }
EMULATED __m512i _mm512_unpacklo_epi64(const __m512i& a, const __m512i& b) { return interleave<uint64_t>(a, b, false); }
EMULATED __m512i _mm512_unpackhi_epi64(const __m512i& a, const __m512i& b) { return interleave<uint64_t>(a, b, true); }
EMULATED __m512i _mm512_permutex2var_epi16(const __m512i& a, const __m512i& index, const __m512i& b) {
  const Lanes<uint16_t> x(a), y(b), at(index);
  return each<uint16_t>([&](int i) { return at.at[i] & 32 ? y.at[at.at[i] & 31] : x.at[at.at[i] & 31]; });
}
EMULATED __m512i _mm512_maskz_permutex2var_epi16(__mmask32 mask, const __m512i& a, const __m512i& index,
                                                 const __m512i& b) {
  const Lanes<uint16_t> all(_mm512_permutex2var_epi16(a, index, b));
  return each<uint16_t>([&](int i) { return mask >> i & 1 ? all.at[i] : uint16_t{0}; });
}
// For each byte eight bits of its quadword from a bit on, around its end.
EMULATED __m512i _mm512_multishift_epi64_epi8(const __m512i& from, const __m512i& a) {
  const Lanes<uint64_t> x(a);
  return each<uint8_t>([&](int i) {
    const int count = from.bytes[i] & 63;
    const uint64_t word = x.at[i / 8];
    return count == 0 ? word : word >> count | word << (64 - count);
  });
}

}  // namespace
}  // namespace tersely
