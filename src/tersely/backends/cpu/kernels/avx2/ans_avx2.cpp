// rANS, 8 lanes a register: entries are gathered, words are spread to the lanes whose states are low.
#include <immintrin.h>

#include <array>

#include "tersely/backends/cpu/base/cpu.hpp"
#include "tersely/backends/cpu/kernels/ans_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// Of each mask of lanes, which word of the next eight goes to each lane: bytes of a permutation.
constexpr std::array<uint64_t, 256> kSpread = [] {
  std::array<uint64_t, 256> out{};
  for (int mask = 0; mask < 256; ++mask) {
    uint64_t next = 0;
    for (int lane = 0; lane < 8; ++lane) {
      out[mask] |= next << 8 * lane;
      next += mask >> lane & 1;
    }
  }
  return out;
}();

// Two entries, whose slots are the halves of a number.
inline __m128i two(const uint32_t* entries, int64_t slots) {
  const auto both = static_cast<uint64_t>(slots);
  const __m128i first = _mm_cvtsi32_si128(static_cast<int>(entries[both & 0xFFFFFFFF]));
  return _mm_insert_epi32(first, static_cast<int>(entries[both >> 32]), 1);
}
inline __m128i four(const uint32_t* entries, __m128i slots) {
  return _mm_unpacklo_epi64(two(entries, _mm_cvtsi128_si64(slots)), two(entries, _mm_extract_epi64(slots, 1)));
}

template <bool ByLoads>
inline __m256i entries_of(__m256i states, const uint32_t* entries, const uint8_t* tables) {
  const __m256i table = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(tables)));
  const __m256i slots =
      _mm256_or_si256(_mm256_and_si256(states, _mm256_set1_epi32(0xFFF)), _mm256_slli_epi32(table, kAnsPrecision));
  if constexpr (!ByLoads) return _mm256_i32gather_epi32(reinterpret_cast<const int*>(entries), slots, 4);
  return _mm256_set_m128i(four(entries, _mm256_extracti128_si256(slots, 1)),
                          four(entries, _mm256_castsi256_si128(slots)));
}

// States behind the symbols of their entries; those that are low take the next words.
inline __m256i advance(__m256i states, __m256i entry, const uint16_t*& words) {
  const __m256i frequency = _mm256_and_si256(_mm256_srli_epi32(entry, kAnsFrequencyShift), _mm256_set1_epi32(0xFFF));
  const __m256i state = _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srli_epi32(states, kAnsPrecision)),
                                         _mm256_srli_epi32(entry, kAnsDistanceShift));
  const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(state, 16), _mm256_setzero_si256());
  const int mask = _mm256_movemask_ps(_mm256_castsi256_ps(low));
  const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
  const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kSpread[mask])));
  const __m256i filled = _mm256_or_si256(_mm256_slli_epi32(state, 16), _mm256_permutevar8x32_epi32(next, order));
  words += _mm_popcnt_u32(static_cast<unsigned>(mask));
  return _mm256_blendv_epi8(state, filled, low);
}

// Of each mask of lanes, the lanes in it, moved to the end of eight.
constexpr std::array<uint64_t, 256> kGathered = [] {
  std::array<uint64_t, 256> out{};
  for (int mask = 0; mask < 256; ++mask) {
    int place = 8;
    for (int lane = 7; lane >= 0; --lane)
      if (mask >> lane & 1) out[mask] |= static_cast<uint64_t>(lane) << 8 * --place;
  }
  return out;
}();

inline __m256i no_less(__m256i a, __m256i b) { return _mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a); }

// Below 2^32, as two halves: there is no conversion of unsigned numbers.
inline __m256 to_float(__m256i a) {
  const __m256 high = _mm256_cvtepi32_ps(_mm256_srli_epi32(a, 16));
  const __m256 low = _mm256_cvtepi32_ps(_mm256_and_si256(a, _mm256_set1_epi32(0xFFFF)));
  return _mm256_fmadd_ps(high, _mm256_set1_ps(65536.0f), low);
}

// Quotients are of single precision: at most one off, since they are below 2^20, and put right by their remainders.
inline void encode_part(const uint32_t* coded, const uint8_t* tables, const uint8_t* symbols, __m256i& states,
                        uint16_t*& end) {
  const auto wide = [](const uint8_t* at) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  };
  const __m256i slot = _mm256_or_si256(_mm256_slli_epi32(wide(tables), 8), wide(symbols));
  const __m256i entry = _mm256_i32gather_epi32(reinterpret_cast<const int*>(coded), slot, 4);
  const __m256i frequency = _mm256_and_si256(entry, _mm256_set1_epi32(0xFFFF));
  const __m256i full = no_less(states, _mm256_slli_epi32(frequency, 32 - kAnsPrecision));
  const int mask = _mm256_movemask_ps(_mm256_castsi256_ps(full));
  const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kGathered[mask])));
  const __m256i given = _mm256_and_si256(_mm256_permutevar8x32_epi32(states, order), _mm256_set1_epi32(0xFFFF));
  // What lies before the words that are given away is written again by those that come.
  _mm_storeu_si128(reinterpret_cast<__m128i*>(end - 8),
                   _mm_packus_epi32(_mm256_castsi256_si128(given), _mm256_extracti128_si256(given, 1)));
  end -= _mm_popcnt_u32(static_cast<unsigned>(mask));
  const __m256i rest = _mm256_blendv_epi8(states, _mm256_srli_epi32(states, 16), full);
  __m256i quotient = _mm256_cvttps_epi32(_mm256_div_ps(to_float(rest), _mm256_cvtepi32_ps(frequency)));
  __m256i left = _mm256_sub_epi32(rest, _mm256_mullo_epi32(quotient, frequency));
  const __m256i above = _mm256_srai_epi32(left, 31);  // negative: the quotient was too large
  quotient = _mm256_add_epi32(quotient, above);
  left = _mm256_add_epi32(left, _mm256_and_si256(above, frequency));
  const __m256i below = no_less(left, frequency);
  quotient = _mm256_sub_epi32(quotient, below);
  left = _mm256_sub_epi32(left, _mm256_and_si256(below, frequency));
  states = _mm256_add_epi32(_mm256_add_epi32(_mm256_slli_epi32(quotient, kAnsPrecision), left),
                            _mm256_srli_epi32(entry, 16));
}

template <int Lanes>
uint16_t* encode(const uint32_t* coded, const uint8_t* tables, const uint8_t* symbols, int64_t steps, uint32_t* states,
                 uint16_t* end) {
  constexpr int kParts = Lanes / 8;
  __m256i parts[kParts];
  for (int i = 0; i < kParts; ++i) parts[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states + 8 * i));
  for (int64_t first = (steps - 1) * Lanes; first >= 0; first -= Lanes)
    for (int i = kParts - 1; i >= 0; --i)
      encode_part(coded, tables + first + 8 * i, symbols + first + 8 * i, parts[i], end);
  for (int i = 0; i < kParts; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(states + 8 * i), parts[i]);
  return end;
}

// Entries of four registers are looked up before the first of them is used: there are never enough look-ups under way.
template <bool ByLoads, int Lanes>
int64_t decode(const uint32_t* entries, const uint8_t* tables, int64_t steps, AnsCursor& cursor, const uint16_t* end,
               uint8_t* symbols) {
  constexpr int kParts = Lanes / 8;
  __m256i states[kParts];
  for (int part = 0; part < kParts; ++part)
    states[part] = _mm256_load_si256(reinterpret_cast<const __m256i*>(cursor.states + 8 * part));
  const uint16_t* words = cursor.words;
  const __m256i bytes = _mm256_set1_epi32(0xFF);
  // Packing leaves parts of four symbols in this order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  int64_t count = 0;
  for (; count < steps && end - words >= Lanes; ++count)
    for (int first = 0; first < kParts; first += 4, tables += 32, symbols += 32) {
      __m256i found[4];
      for (int part = 0; part < 4; ++part)
        found[part] = entries_of<ByLoads>(states[first + part], entries, tables + 8 * part);
      for (int part = 0; part < 4; ++part) {
        states[first + part] = advance(states[first + part], found[part], words);
        found[part] = _mm256_and_si256(found[part], bytes);
      }
      const __m256i packed =
          _mm256_packus_epi16(_mm256_packus_epi32(found[0], found[1]), _mm256_packus_epi32(found[2], found[3]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(symbols), _mm256_permutevar8x32_epi32(packed, order));
    }
  for (int part = 0; part < kParts; ++part)
    _mm256_store_si256(reinterpret_cast<__m256i*>(cursor.states + 8 * part), states[part]);
  cursor.words = words;
  return count;
}

}  // namespace

void fill_avx2_ans(KernelTable& table) {
  table.ans = kAnsLoops;
  // MEASURED on Zen 5, 62 symbols of four tables: 0.57 ns a symbol by gathers of one register after another, 0.54 of
  // four at once, 0.45 by loads.
  const bool loads = cpu_has_slow_gather();
  table.ans.decode[0] = loads ? &decode<true, kAnsLanes[0]> : &decode<false, kAnsLanes[0]>;
  table.ans.decode[1] = loads ? &decode<true, kAnsLanes[1]> : &decode<false, kAnsLanes[1]>;
  table.ans.encode[0] = &encode<kAnsLanes[0]>;
  table.ans.encode[1] = &encode<kAnsLanes[1]>;
}

}  // namespace tersely
