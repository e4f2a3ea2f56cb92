// rANS, 16 lanes a register: entries are gathered, words are spread to the lanes whose states are low.
#include <immintrin.h>

#include "tersely/backends/cpu/base/cpu.hpp"
#include "tersely/backends/cpu/kernels/ans_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// Two entries, whose slots are the halves of a number.
inline __m128i two(const uint32_t* entries, int64_t slots) {
  const auto both = static_cast<uint64_t>(slots);
  const __m128i first = _mm_cvtsi32_si128(static_cast<int>(entries[both & 0xFFFFFFFF]));
  return _mm_insert_epi32(first, static_cast<int>(entries[both >> 32]), 1);
}
template <int Quarter>
inline __m128i four(const uint32_t* entries, __m512i slots) {
  const __m128i part = _mm512_extracti32x4_epi32(slots, Quarter);
  return _mm_unpacklo_epi64(two(entries, _mm_cvtsi128_si64(part)), two(entries, _mm_extract_epi64(part, 1)));
}

template <bool ByLoads>
inline __m512i entries_of(__m512i states, const uint32_t* entries, const uint8_t* tables) {
  const __m512i table = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tables)));
  const __m512i slots = _mm512_ternarylogic_epi32(states, _mm512_set1_epi32(0xFFF),
                                                  _mm512_slli_epi32(table, kAnsPrecision), 0xEA);  // a & b | c
  if constexpr (!ByLoads) return _mm512_i32gather_epi32(slots, entries, 4);
  const __m256i first = _mm256_set_m128i(four<1>(entries, slots), four<0>(entries, slots));
  const __m256i second = _mm256_set_m128i(four<3>(entries, slots), four<2>(entries, slots));
  return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}

// States behind the symbols of their entries; those that are low take the next words.
inline __m512i advance(__m512i states, __m512i entry, const uint16_t*& words) {
  const __m512i frequency = _mm512_and_si512(_mm512_srli_epi32(entry, kAnsFrequencyShift), _mm512_set1_epi32(0xFFF));
  states = _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srli_epi32(states, kAnsPrecision)),
                            _mm512_srli_epi32(entry, kAnsDistanceShift));
  const __mmask16 low = _mm512_cmplt_epu32_mask(states, _mm512_set1_epi32(kAnsLowest));
  const __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
  const __m512i spread = _mm512_maskz_expand_epi32(low, next);
  words += _mm_popcnt_u32(low);
  return _mm512_mask_or_epi32(states, low, _mm512_slli_epi32(states, 16), spread);
}

// By gathers, entries of all registers are looked up before the first of them is used; loads are too many for that.
template <bool ByLoads, int Lanes>
int64_t decode(const uint32_t* entries, const uint8_t* tables, int64_t steps, AnsCursor& cursor, const uint16_t* end,
               uint8_t* symbols) {
  constexpr int kParts = Lanes / 16, kSome = ByLoads ? 1 : kParts;
  __m512i states[kParts];
  for (int i = 0; i < kParts; ++i) states[i] = _mm512_load_si512(cursor.states + 16 * i);
  const uint16_t* words = cursor.words;
  int64_t step = 0;
  for (; step < steps && end - words >= Lanes; ++step)
    for (int first = 0; first < kParts; first += kSome, tables += 16 * kSome, symbols += 16 * kSome) {
      __m512i found[kSome];
      for (int i = 0; i < kSome; ++i) found[i] = entries_of<ByLoads>(states[first + i], entries, tables + 16 * i);
      for (int i = 0; i < kSome; ++i) {
        states[first + i] = advance(states[first + i], found[i], words);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(symbols + 16 * i), _mm512_cvtepi32_epi8(found[i]));
      }
    }
  for (int i = 0; i < kParts; ++i) _mm512_store_si512(cursor.states + 16 * i, states[i]);
  cursor.words = words;
  return step;
}

// Quotients are of single precision: at most one off, since they are below 2^20, and put right by their remainders.
inline void encode_part(const uint32_t* coded, const uint8_t* tables, const uint8_t* symbols, __m512i& states,
                        uint16_t*& end) {
  const auto wide = [](const uint8_t* at) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  };
  const __m512i slot = _mm512_or_si512(_mm512_slli_epi32(wide(tables), 8), wide(symbols));
  const __m512i entry = _mm512_i32gather_epi32(slot, coded, 4);
  const __m512i frequency = _mm512_and_si512(entry, _mm512_set1_epi32(0xFFFF)), one = _mm512_set1_epi32(1);
  const __mmask16 low = _mm512_cmplt_epu32_mask(states, _mm512_slli_epi32(frequency, 32 - kAnsPrecision));
  const auto full = static_cast<__mmask16>(~low);
  const int count = _mm_popcnt_u32(full);
  end -= count;
  const __m512i given = _mm512_maskz_compress_epi32(full, states);
  _mm256_mask_storeu_epi16(end, static_cast<__mmask16>((1u << count) - 1), _mm512_cvtepi32_epi16(given));
  const __m512i rest = _mm512_mask_srli_epi32(states, full, states, 16);
  __m512i quotient = _mm512_cvttps_epu32(_mm512_div_ps(_mm512_cvtepu32_ps(rest), _mm512_cvtepi32_ps(frequency)));
  __m512i left = _mm512_sub_epi32(rest, _mm512_mullo_epi32(quotient, frequency));
  const __mmask16 above = _mm512_movepi32_mask(left);  // negative: the quotient was too large
  quotient = _mm512_mask_sub_epi32(quotient, above, quotient, one);
  left = _mm512_mask_add_epi32(left, above, left, frequency);
  const auto below = static_cast<__mmask16>(~_mm512_cmplt_epu32_mask(left, frequency));
  quotient = _mm512_mask_add_epi32(quotient, below, quotient, one);
  left = _mm512_mask_sub_epi32(left, below, left, frequency);
  states = _mm512_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(quotient, kAnsPrecision), left),
                            _mm512_srli_epi32(entry, 16));
}

template <int Lanes>
uint16_t* encode(const uint32_t* coded, const uint8_t* tables, const uint8_t* symbols, int64_t steps, uint32_t* states,
                 uint16_t* end) {
  constexpr int kParts = Lanes / 16;
  __m512i parts[kParts];
  for (int i = 0; i < kParts; ++i) parts[i] = _mm512_loadu_si512(states + 16 * i);
  for (int64_t first = (steps - 1) * Lanes; first >= 0; first -= Lanes)
    for (int i = kParts - 1; i >= 0; --i)
      encode_part(coded, tables + first + 16 * i, symbols + first + 16 * i, parts[i], end);
  for (int i = 0; i < kParts; ++i) _mm512_storeu_si512(states + 16 * i, parts[i]);
  return end;
}

}  // namespace

void fill_avx512_ans(KernelTable& table) {
  table.ans = kAnsLoops;
  // MEASURED on Zen 5, 62 symbols of four tables: 0.44 ns a symbol by gathers of one register after another, 0.35 of
  // four at once, 0.38 by loads, which are less of a risk elsewhere.
  const bool loads = cpu_has_slow_gather();
  table.ans.decode[0] = loads ? &decode<true, kAnsLanes[0]> : &decode<false, kAnsLanes[0]>;
  table.ans.decode[1] = loads ? &decode<true, kAnsLanes[1]> : &decode<false, kAnsLanes[1]>;
  table.ans.encode[0] = &encode<kAnsLanes[0]>;
  table.ans.encode[1] = &encode<kAnsLanes[1]>;
}

}  // namespace tersely
