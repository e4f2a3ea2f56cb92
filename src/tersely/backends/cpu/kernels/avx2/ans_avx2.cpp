// rANS, 8 lanes a register: entries are gathered, words are spread to the lanes whose states are low.
#include <immintrin.h>

#include <array>

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

inline __m256i step(__m256i& states, const uint32_t* entries, const uint8_t* tables, const uint16_t*& words) {
  const __m256i table = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(tables)));
  const __m256i slot =
      _mm256_or_si256(_mm256_and_si256(states, _mm256_set1_epi32(0xFFF)), _mm256_slli_epi32(table, kAnsPrecision));
  const __m256i entry = _mm256_i32gather_epi32(reinterpret_cast<const int*>(entries), slot, 4);
  const __m256i frequency = _mm256_and_si256(_mm256_srli_epi32(entry, kAnsFrequencyShift), _mm256_set1_epi32(0xFFF));
  const __m256i state = _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srli_epi32(states, kAnsPrecision)),
                                         _mm256_srli_epi32(entry, kAnsDistanceShift));
  const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(state, 16), _mm256_setzero_si256());
  const int mask = _mm256_movemask_ps(_mm256_castsi256_ps(low));
  const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
  const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kSpread[mask])));
  const __m256i filled = _mm256_or_si256(_mm256_slli_epi32(state, 16), _mm256_permutevar8x32_epi32(next, order));
  states = _mm256_blendv_epi8(state, filled, low);
  words += _mm_popcnt_u32(static_cast<unsigned>(mask));
  return entry;
}

template <int Lanes>
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
        found[part] = _mm256_and_si256(step(states[first + part], entries, tables + 8 * part, words), bytes);
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
  table.ans.decode[0] = &decode<kAnsLanes[0]>;
  table.ans.decode[1] = &decode<kAnsLanes[1]>;
}

}  // namespace tersely
