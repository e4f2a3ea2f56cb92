// Words of floats from symbols and raw bits, 64 at a time: symbols are looked up one by one, raw bits by vectors.
#include <immintrin.h>

#include "tersely/backends/cpu/kernels/ans_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

inline __m256i load(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
inline __m128i load_half(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
inline void store(void* at, __m256i a) { _mm256_storeu_si256(static_cast<__m256i*>(at), a); }

// Fields of Bits bits (0 to 7) of 64 words, in two vectors: planes of 4, 2 and 1 bits, the highest first.
template <int Bits>
inline void fields(const uint8_t* planes, __m256i (&out)[2]) {
  out[0] = out[1] = _mm256_setzero_si256();
  constexpr int kMiddle = Bits & 4 ? 32 : 0, kLow = kMiddle + (Bits & 2 ? 16 : 0);
  if constexpr (Bits & 4) {
    const __m256i plane = load(planes), nibble = _mm256_set1_epi8(15);
    out[0] = _mm256_slli_epi16(_mm256_and_si256(plane, nibble), Bits & 3);
    out[1] = _mm256_slli_epi16(_mm256_and_si256(_mm256_srli_epi16(plane, 4), nibble), Bits & 3);
  }
  if constexpr (Bits & 2) {
    const __m256i plane = _mm256_broadcastsi128_si256(load_half(planes + kMiddle));
    for (int half = 0; half < 2; ++half) {
      const __m256i shifts = _mm256_add_epi64(_mm256_set_epi64x(2, 2, 0, 0), _mm256_set1_epi64x(4 * half));
      const __m256i part = _mm256_and_si256(_mm256_srlv_epi64(plane, shifts), _mm256_set1_epi8(3));
      out[half] = _mm256_or_si256(out[half], _mm256_slli_epi16(part, Bits & 1));
    }
  }
  if constexpr (Bits & 1) {
    const __m256i plane = _mm256_set1_epi64x(ans_load<int64_t>(planes + kLow));
    for (int half = 0; half < 2; ++half) {
      const __m256i shifts = _mm256_add_epi64(_mm256_set_epi64x(3, 2, 1, 0), _mm256_set1_epi64x(4 * half));
      const __m256i part = _mm256_and_si256(_mm256_srlv_epi64(plane, shifts), _mm256_set1_epi8(1));
      out[half] = _mm256_or_si256(out[half], part);
    }
  }
}

// What 16 symbols of a line say.
inline __m256i on_line_16(const AnsWords& words, const uint8_t* symbols) {
  const __m256i first = _mm256_set1_epi16(static_cast<const int16_t*>(words.by_symbol)[0]);
  const __m256i symbol = _mm256_cvtepu8_epi16(load_half(symbols));
  return _mm256_add_epi16(first, _mm256_sll_epi16(symbol, _mm_cvtsi32_si128(words.line)));
}

// Eight bytes as numbers of 32 bits.
inline __m256i widened(const uint8_t* bytes) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
}

inline __m256i on_line_32(const AnsWords& words, const uint8_t* symbols) {
  const __m256i first = _mm256_set1_epi32(static_cast<const int32_t*>(words.by_symbol)[0]);
  return _mm256_add_epi32(first, _mm256_sll_epi32(widened(symbols), _mm_cvtsi32_si128(words.line)));
}

// Words of 16 bits whose sign is the lowest of Whole bytes and Bits raw bits.
template <int Whole, int Bits, bool Line>
void join_pairs(const AnsWords& words, const uint8_t* symbols, const uint8_t* whole, const uint8_t* planes,
                int64_t groups, uint16_t* out) {
  const auto* by_symbol = static_cast<const uint16_t*>(words.by_symbol);
  for (int64_t group = 0; group < groups; ++group, symbols += 64, whole += 64 * Whole, planes += 8 * Bits, out += 64) {
    alignas(32) uint16_t above[64];
    if constexpr (!Line)
      for (int i = 0; i < 64; ++i) above[i] = by_symbol[symbols[i]];
    __m256i field[2];
    fields<Bits>(planes, field);
    const auto part = [&](int i, __m128i high) {
      __m256i raw = _mm256_cvtepu8_epi16(high);
      if constexpr (Whole == 1)
        raw = _mm256_or_si256(_mm256_slli_epi16(raw, 8), _mm256_cvtepu8_epi16(load_half(whole + 16 * i)));
      const __m256i word = _mm256_or_si256(_mm256_srli_epi16(raw, 1), _mm256_slli_epi16(raw, 15));
      store(out + 16 * i, _mm256_xor_si256(word, Line ? on_line_16(words, symbols + 16 * i) : load(above + 16 * i)));
    };
    for (int half = 0; half < 2; ++half) {
      part(2 * half, _mm256_castsi256_si128(field[half]));
      part(2 * half + 1, _mm256_extracti128_si256(field[half], 1));
    }
  }
}

// Words of 32 bits of Whole (1 to 3) bytes and Bits raw bits, whose lowest is the sign if they are rotated, else moved
// up by trim. Lowest: with lowest bits.
template <bool Rotated, int Whole, int Bits, bool Line, bool Lowest>
void join_floats(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* whole,
                 const uint8_t* planes, int64_t groups, uint32_t* out) {
  const auto* by_symbol = static_cast<const uint32_t*>(words.by_symbol);
  const __m128i three = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
  const __m128i behind = _mm_setr_epi8(4, 5, 6, -1, 7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1);
  const __m128i trim = _mm_cvtsi32_si128(words.trim), low_trim = _mm_cvtsi32_si128(words.low_trim);
  const __m128i down = _mm_cvtsi32_si128(words.low_rotated), top = _mm_cvtsi32_si128(words.low_rotated ? 31 : 32);
  for (int64_t group = 0; group < groups; ++group, symbols += 64, whole += 64 * Whole, planes += 8 * Bits, out += 64) {
    alignas(32) uint32_t above[64];
    if constexpr (!Line)
      for (int i = 0; i < 64; ++i) above[i] = by_symbol[symbols[i]];
    alignas(32) uint8_t field[64];
    if constexpr (Bits > 0) {
      __m256i both[2];
      fields<Bits>(planes, both);
      store(field, both[0]);
      store(field + 32, both[1]);
    }
    for (int i = 0; i < 64; i += 8) {
      __m256i raw;
      if constexpr (Whole == 1)
        raw = widened(whole + i);
      else if constexpr (Whole == 2)
        raw = _mm256_cvtepu16_epi32(load_half(whole + 2 * i));
      else  // both of 16 bytes: of the first 12 and the last 12 of 24
        raw = _mm256_set_m128i(_mm_shuffle_epi8(load_half(whole + 3 * i + 8), behind),
                               _mm_shuffle_epi8(load_half(whole + 3 * i), three));
      if constexpr (Bits > 0) raw = _mm256_or_si256(raw, _mm256_slli_epi32(widened(field + i), 8 * Whole));
      __m256i word = Rotated ? _mm256_or_si256(_mm256_srli_epi32(raw, 1), _mm256_slli_epi32(raw, 31))
                             : _mm256_sll_epi32(raw, trim);
      word = _mm256_xor_si256(word, Line ? on_line_32(words, symbols + i) : load(above + i));
      if constexpr (Lowest) {
        const __m256i bits = widened(lowest + i);
        word = _mm256_xor_si256(word, _mm256_sll_epi32(_mm256_srl_epi32(bits, down), low_trim));
        word = _mm256_xor_si256(word, _mm256_sll_epi32(bits, top));
      }
      store(out + i, word);
    }
    if constexpr (Lowest) lowest += 64;
  }
}

template <int Raw = 1>
void join_16(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* low,
             const uint8_t* planes, int64_t groups, void* out) {
  if constexpr (Raw == 16) {
    return ans_join<uint16_t>(words, symbols, lowest, low, planes, groups, out);
  } else {
    if (lowest != nullptr || !words.rotated || words.trim != 0 || words.raw != Raw)
      return join_16<Raw + 1>(words, symbols, lowest, low, planes, groups, out);
    auto* to = static_cast<uint16_t*>(out);
    if (words.line >= 0) return join_pairs<Raw / 8, Raw % 8, true>(words, symbols, low, planes, groups, to);
    join_pairs<Raw / 8, Raw % 8, false>(words, symbols, low, planes, groups, to);
  }
}

template <int Whole, int Bits, bool Line>
void join_32_of(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* low,
                const uint8_t* planes, int64_t groups, void* out) {
  auto* to = static_cast<uint32_t*>(out);
  if (lowest != nullptr && !words.rotated)
    return join_floats<false, Whole, Bits, Line, true>(words, symbols, lowest, low, planes, groups, to);
  if (lowest == nullptr && !words.rotated)
    return join_floats<false, Whole, Bits, Line, false>(words, symbols, lowest, low, planes, groups, to);
  if (lowest == nullptr && words.trim == 0)
    return join_floats<true, Whole, Bits, Line, false>(words, symbols, lowest, low, planes, groups, to);
  ans_join<uint32_t>(words, symbols, lowest, low, planes, groups, out);
}

template <int Raw = 9>
void join_32(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* low,
             const uint8_t* planes, int64_t groups, void* out) {
  if constexpr (Raw == 25) {
    return ans_join<uint32_t>(words, symbols, lowest, low, planes, groups, out);
  } else {
    if (words.raw != Raw) return join_32<Raw + 1>(words, symbols, lowest, low, planes, groups, out);
    if (words.line >= 0) return join_32_of<Raw / 8, Raw % 8, true>(words, symbols, lowest, low, planes, groups, out);
    join_32_of<Raw / 8, Raw % 8, false>(words, symbols, lowest, low, planes, groups, out);
  }
}

int64_t places(const AnsSet& set, const uint8_t* symbols, int64_t count, uint16_t* places) {
  const __m256i first = _mm256_broadcastsi128_si256(load_half(set.rows));
  const __m256i second = _mm256_broadcastsi128_si256(load_half(set.rows + 16)), nibble = _mm256_set1_epi8(15);
  const __m256i bits = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  int64_t found = 0, i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m256i symbol = load(symbols + i), column = _mm256_and_si256(symbol, nibble);
    const __m256i row =
        _mm256_blendv_epi8(_mm256_shuffle_epi8(first, column), _mm256_shuffle_epi8(second, column), symbol);
    const __m256i which = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(symbol, 4), nibble));
    const __m256i absent = _mm256_cmpeq_epi8(_mm256_and_si256(row, which), _mm256_setzero_si256());
    for (uint32_t mask = ~static_cast<uint32_t>(_mm256_movemask_epi8(absent)); mask != 0; mask &= mask - 1)
      places[found++] = static_cast<uint16_t>(i + __builtin_ctz(mask));
  }
  for (; i < count; ++i)
    if (set.has(symbols[i])) places[found++] = static_cast<uint16_t>(i);
  return found;
}

}  // namespace

void fill_avx2_ans_words(KernelTable& table) {
  table.ans.join[1] = &join_16<>;
  table.ans.join[2] = &join_32<>;
  table.ans.places = &places;
}

}  // namespace tersely
