// Words of floats from symbols and raw bits, 64 at a time: bytes are looked up by two permutations of 128.
#include <immintrin.h>

#include "tersely/backends/cpu/kernels/ans_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

inline __m512i load(const uint8_t* at) { return _mm512_loadu_si512(at); }

// A byte of each symbol.
class Bytes {
 public:
  explicit Bytes(const uint8_t* by_byte)
      : parts_{load(by_byte), load(by_byte + 64), load(by_byte + 128), load(by_byte + 192)} {}
  __m512i of(__m512i symbols) const {
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(symbols), _mm512_permutex2var_epi8(parts_[0], symbols, parts_[1]),
                                  _mm512_permutex2var_epi8(parts_[2], symbols, parts_[3]));
  }

 private:
  __m512i parts_[4];
};

// Fields of Bits bits (0 to 7) of 64 words: planes of 4, 2 and 1 bits, the highest first.
template <int Bits>
inline __m512i fields(const uint8_t* planes) {
  __m512i out = _mm512_setzero_si512();
  constexpr int kMiddle = Bits & 4 ? 32 : 0, kLow = kMiddle + (Bits & 2 ? 16 : 0);
  if constexpr (Bits & 4) {
    const __m256i plane = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(planes));
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(plane), _mm256_srli_epi16(plane, 4), 1);
    out = _mm512_slli_epi16(_mm512_and_si512(both, _mm512_set1_epi8(15)), Bits & 3);
  }
  if constexpr (Bits & 2) {
    const __m512i plane = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(planes + kMiddle)));
    const __m512i shifts = _mm512_set_epi64(6, 6, 4, 4, 2, 2, 0, 0);
    const __m512i part = _mm512_and_si512(_mm512_srlv_epi64(plane, shifts), _mm512_set1_epi8(3));
    out = _mm512_or_si512(out, _mm512_slli_epi16(part, Bits & 1));
  }
  if constexpr (Bits & 1) {
    const __m512i plane = _mm512_set1_epi64(ans_load<int64_t>(planes + kLow));
    const __m512i part = _mm512_srlv_epi64(plane, _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    out = _mm512_or_si512(out, _mm512_and_si512(part, _mm512_set1_epi8(1)));
  }
  return out;
}

// What lowest and higher bytes of 64 words are together: the bytes of words [0, 32) and [32, 64), in turn.
inline void store_pairs(__m512i low, __m512i high, uint16_t* out) {
  const __m512i first = _mm512_unpacklo_epi8(low, high), second = _mm512_unpackhi_epi8(low, high);
  const __m512i order = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0),
                behind = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
  _mm512_storeu_si512(out, _mm512_permutex2var_epi64(first, order, second));
  _mm512_storeu_si512(out + 32, _mm512_permutex2var_epi64(first, behind, second));
}

template <int Part>
inline __m512i widened(__m512i bytes) {
  return _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(bytes, Part));
}

// Words of 16 bits whose sign is the lowest of Whole bytes and Bits raw bits.
template <int Whole, int Bits>
void join_pairs(const AnsWords& words, const uint8_t* symbols, const uint8_t* whole, const uint8_t* planes,
                int64_t groups, uint16_t* out) {
  const Bytes lowest(words.by_byte), highest(words.by_byte + 256);
  const __m512i top = _mm512_set1_epi8(-128);
  for (int64_t group = 0; group < groups; ++group, symbols += 64, whole += 64 * Whole, planes += 8 * Bits, out += 64) {
    const __m512i symbol = load(symbols), field = fields<Bits>(planes);
    const __m512i first = Whole ? load(whole) : field, second = Whole ? field : _mm512_setzero_si512();
    __m512i low = _mm512_andnot_si512(top, _mm512_srli_epi16(first, 1));
    __m512i high = _mm512_and_si512(top, _mm512_slli_epi16(first, 7));
    if constexpr (Whole == 1 && Bits > 0) {
      low = _mm512_or_si512(low, _mm512_and_si512(top, _mm512_slli_epi16(second, 7)));
      high = _mm512_or_si512(high, _mm512_andnot_si512(top, _mm512_srli_epi16(second, 1)));
    }
    store_pairs(_mm512_xor_si512(low, lowest.of(symbol)), _mm512_xor_si512(high, highest.of(symbol)), out);
  }
}

// The same of symbols on a line.
template <int Whole, int Bits>
void join_pairs_on_line(const AnsWords& words, const uint8_t* symbols, const uint8_t* whole, const uint8_t* planes,
                        int64_t groups, uint16_t* out) {
  const __m512i start = _mm512_set1_epi16(static_cast<const int16_t*>(words.by_symbol)[0]);
  const __m128i line = _mm_cvtsi32_si128(words.line);
  const auto wide = [](const uint8_t* at) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  };
  for (int64_t group = 0; group < groups; ++group, symbols += 64, whole += 64 * Whole, planes += 8 * Bits, out += 64) {
    const __m512i field = fields<Bits>(planes);
    const auto part = [&](int i, __m256i high) {
      __m512i raw = _mm512_cvtepu8_epi16(high);
      if constexpr (Whole == 1) raw = _mm512_or_si512(_mm512_slli_epi16(raw, 8), wide(whole + i));
      const __m512i above = _mm512_add_epi16(start, _mm512_sll_epi16(wide(symbols + i), line));
      raw = _mm512_or_si512(_mm512_srli_epi16(raw, 1), _mm512_slli_epi16(raw, 15));
      _mm512_storeu_si512(out + i, _mm512_xor_si512(above, raw));
    };
    part(0, _mm512_castsi512_si256(field));
    part(32, _mm512_extracti64x4_epi64(field, 1));
  }
}

// The number of Whole (1 to 3) bytes of each of 16 words.
template <int Whole>
inline __m512i whole_bytes(const uint8_t* at) {
  if constexpr (Whole == 1) return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  if constexpr (Whole == 2) return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  alignas(64) static constexpr uint8_t kOrder[64] = {0,  1,  2,  0, 3,  4,  5,  0, 6,  7,  8,  0, 9,  10, 11, 0,
                                                     12, 13, 14, 0, 15, 16, 17, 0, 18, 19, 20, 0, 21, 22, 23, 0,
                                                     24, 25, 26, 0, 27, 28, 29, 0, 30, 31, 32, 0, 33, 34, 35, 0,
                                                     36, 37, 38, 0, 39, 40, 41, 0, 42, 43, 44, 0, 45, 46, 47, 0};
  const __m512i bytes = _mm512_maskz_loadu_epi8((uint64_t{1} << 48) - 1, at);
  return _mm512_and_si512(_mm512_set1_epi32(0xFFFFFF), _mm512_permutexvar_epi8(load(kOrder), bytes));
}

// Words of 32 bits of Whole bytes and Bits raw bits, whose lowest is the sign if they are rotated, else moved up by
// trim. Without Line, symbols say only the two highest bytes. Lowest: with lowest bits.
template <bool Rotated, int Whole, int Bits, bool Line, bool Lowest>
void join_floats(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* whole,
                 const uint8_t* planes, int64_t groups, uint32_t* out) {
  const Bytes third(words.by_byte + 512), highest(words.by_byte + 768);
  const auto trim = static_cast<unsigned>(words.trim), low_trim = static_cast<unsigned>(words.low_trim);
  const unsigned down = words.low_rotated, top = words.low_rotated ? 31 : 32;
  const __m512i start = _mm512_set1_epi32(static_cast<const int32_t*>(words.by_symbol)[0]);
  const auto line = static_cast<unsigned>(words.line);
  for (int64_t group = 0; group < groups; ++group, symbols += 64, whole += 64 * Whole, planes += 8 * Bits, out += 64) {
    const __m512i symbol = load(symbols), field = fields<Bits>(planes);
    const __m512i low = Line ? symbol : third.of(symbol), high = Line ? symbol : highest.of(symbol);
    const __m512i coded = Lowest ? load(lowest) : symbol;
    const auto part = [&]<int Part>() {
      __m512i word;
      if constexpr (Line)
        word = _mm512_add_epi32(start, _mm512_slli_epi32(widened<Part>(symbol), line));
      else
        word = _mm512_slli_epi32(_mm512_or_si512(widened<Part>(low), _mm512_slli_epi32(widened<Part>(high), 8)), 16);
      __m512i raw = whole_bytes<Whole>(whole + 16 * Whole * Part);
      if constexpr (Bits > 0) raw = _mm512_or_si512(raw, _mm512_slli_epi32(widened<Part>(field), 8 * Whole));
      raw = Rotated ? _mm512_ror_epi32(raw, 1) : _mm512_slli_epi32(raw, trim);
      word = _mm512_xor_si512(word, raw);
      if constexpr (Lowest) {
        const __m512i bits = widened<Part>(coded);
        word = _mm512_xor_si512(word, _mm512_slli_epi32(_mm512_srli_epi32(bits, down), low_trim));
        word = _mm512_xor_si512(word, _mm512_slli_epi32(bits, top));
      }
      _mm512_storeu_si512(out + 16 * Part, word);
    };
    part.template operator()<0>();
    part.template operator()<1>();
    part.template operator()<2>();
    part.template operator()<3>();
    if constexpr (Lowest) lowest += 64;
  }
}

void join_bytes(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* low,
                const uint8_t* planes, int64_t groups, void* out) {
  if (words.raw > 0 || lowest != nullptr) return ans_join<uint8_t>(words, symbols, lowest, low, planes, groups, out);
  const Bytes bytes(words.by_byte);
  auto* to = static_cast<uint8_t*>(out);
  for (int64_t i = 0; i < 64 * groups; i += 64) _mm512_storeu_si512(to + i, bytes.of(load(symbols + i)));
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
    if (words.line >= 0) return join_pairs_on_line<Raw / 8, Raw % 8>(words, symbols, low, planes, groups, to);
    join_pairs<Raw / 8, Raw % 8>(words, symbols, low, planes, groups, to);
  }
}

template <int Whole, int Bits, bool Line>
void join_32_of(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* low,
                const uint8_t* planes, int64_t groups, void* out) {
  auto* to = static_cast<uint32_t*>(out);
  if (Line || words.trim + words.raw - words.rotated >= 16) {  // what symbols say begins where raw bits end
    if (lowest != nullptr && !words.rotated)
      return join_floats<false, Whole, Bits, Line, true>(words, symbols, lowest, low, planes, groups, to);
    if (lowest == nullptr && !words.rotated)
      return join_floats<false, Whole, Bits, Line, false>(words, symbols, lowest, low, planes, groups, to);
    if (lowest == nullptr && words.trim == 0)
      return join_floats<true, Whole, Bits, Line, false>(words, symbols, lowest, low, planes, groups, to);
  }
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

// Planes of fields of 64 words: `fields` the other way.
template <int Bits>
inline void store_planes(__m512i field, uint8_t* planes) {
  constexpr int kMiddle = Bits & 4 ? 32 : 0, kLow = kMiddle + (Bits & 2 ? 16 : 0);
  if constexpr (Bits & 4) {
    const __m512i part = _mm512_and_si512(_mm512_srli_epi16(field, Bits & 3), _mm512_set1_epi8(15));
    const __m256i high = _mm256_slli_epi16(_mm512_extracti64x4_epi64(part, 1), 4);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(planes), _mm256_or_si256(_mm512_castsi512_si256(part), high));
  }
  const auto halves = [](__m512i parts) {
    return _mm256_or_si256(_mm512_castsi512_si256(parts), _mm512_extracti64x4_epi64(parts, 1));
  };
  const auto quarters = [](__m256i parts) {
    return _mm_or_si128(_mm256_castsi256_si128(parts), _mm256_extracti128_si256(parts, 1));
  };
  if constexpr (Bits & 2) {
    const __m512i part = _mm512_and_si512(_mm512_srli_epi16(field, Bits & 1), _mm512_set1_epi8(3));
    const __m512i moved = _mm512_sllv_epi64(part, _mm512_set_epi64(6, 6, 4, 4, 2, 2, 0, 0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(planes + kMiddle), quarters(halves(moved)));
  }
  if constexpr (Bits & 1) {
    const __m512i part = _mm512_and_si512(field, _mm512_set1_epi8(1));
    const __m128i two = quarters(halves(_mm512_sllv_epi64(part, _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0))));
    const int64_t plane = _mm_cvtsi128_si64(two) | _mm_extract_epi64(two, 1);
    std::memcpy(planes + kLow, &plane, 8);
  }
}

template <int Whole, int Bits>
void pack_pairs(const uint16_t* from, int64_t groups, uint8_t* whole, uint8_t* planes) {
  const __m512i top = _mm512_set1_epi8(-128), ones = _mm512_set1_epi8(1);
  const __m512i even = _mm512_set1_epi16(0xFF), order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
  for (int64_t group = 0; group < groups; ++group, from += 64, whole += 64 * Whole, planes += 8 * Bits) {
    const __m512i first = _mm512_loadu_si512(from), second = _mm512_loadu_si512(from + 32);
    const __m512i low = _mm512_permutexvar_epi64(
        order, _mm512_packus_epi16(_mm512_and_si512(first, even), _mm512_and_si512(second, even)));
    const __m512i high =
        _mm512_permutexvar_epi64(order, _mm512_packus_epi16(_mm512_srli_epi16(first, 8), _mm512_srli_epi16(second, 8)));
    const __m512i lowest = _mm512_or_si512(_mm512_andnot_si512(ones, _mm512_slli_epi16(low, 1)),
                                           _mm512_and_si512(ones, _mm512_srli_epi16(high, 7)));
    const __m512i above = _mm512_or_si512(_mm512_andnot_si512(ones, _mm512_slli_epi16(high, 1)),
                                          _mm512_and_si512(ones, _mm512_srli_epi16(low, 7)));
    if constexpr (Whole == 1) _mm512_storeu_si512(whole, lowest);
    store_planes<Bits>(Whole == 1 ? above : _mm512_andnot_si512(top, lowest), planes);
  }
}

// Whole (1 to 3) bytes of each of 16 words.
template <int Whole>
inline void store_whole(__m512i value, uint8_t* at) {
  if constexpr (Whole == 1) _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm512_cvtepi32_epi8(value));
  if constexpr (Whole == 2) _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), _mm512_cvtepi32_epi16(value));
  if constexpr (Whole == 3) {
    alignas(64) static constexpr uint8_t kOrder[64] = {0,  1,  2,  4,  5,  6,  8,  9,  10, 12, 13, 14, 16, 17, 18, 20,
                                                       21, 22, 24, 25, 26, 28, 29, 30, 32, 33, 34, 36, 37, 38, 40, 41,
                                                       42, 44, 45, 46, 48, 49, 50, 52, 53, 54, 56, 57, 58, 60, 61, 62};
    _mm512_mask_storeu_epi8(at, (uint64_t{1} << 48) - 1, _mm512_permutexvar_epi8(load(kOrder), value));
  }
}

template <bool Rotated, int Whole, int Bits>
void pack_floats(const AnsWords& words, const uint32_t* from, int64_t groups, uint8_t* whole, uint8_t* planes) {
  const auto trim = static_cast<unsigned>(words.trim);
  for (int64_t group = 0; group < groups; ++group, from += 64, whole += 64 * Whole, planes += 8 * Bits) {
    const auto part = [&]<int Part>() {
      const __m512i word = _mm512_loadu_si512(from + 16 * Part);
      const __m512i value = Rotated ? _mm512_rol_epi32(word, 1) : _mm512_srli_epi32(word, trim);
      store_whole<Whole>(value, whole + 16 * Whole * Part);
      return _mm512_cvtepi32_epi8(_mm512_srli_epi32(value, 8 * Whole));
    };
    const __m256i first = _mm256_set_m128i(part.template operator()<1>(), part.template operator()<0>());
    const __m256i second = _mm256_set_m128i(part.template operator()<3>(), part.template operator()<2>());
    store_planes<Bits>(_mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1), planes);
  }
}

template <int Raw = 1>
void pack_16(const AnsWords& words, const void* from, int64_t groups, uint8_t* low, uint8_t* planes) {
  if constexpr (Raw == 16) {
    return ans_pack<uint16_t>(words, from, groups, low, planes);
  } else {
    if (words.rotated && words.trim == 0 && words.raw == Raw)
      return pack_pairs<Raw / 8, Raw % 8>(static_cast<const uint16_t*>(from), groups, low, planes);
    pack_16<Raw + 1>(words, from, groups, low, planes);
  }
}

template <int Raw = 9>
void pack_32(const AnsWords& words, const void* from, int64_t groups, uint8_t* low, uint8_t* planes) {
  const auto* floats = static_cast<const uint32_t*>(from);
  if constexpr (Raw == 25) {
    return ans_pack<uint32_t>(words, from, groups, low, planes);
  } else {
    if (words.raw != Raw) return pack_32<Raw + 1>(words, from, groups, low, planes);
    if (!words.rotated) return pack_floats<false, Raw / 8, Raw % 8>(words, floats, groups, low, planes);
    if (words.trim == 0) return pack_floats<true, Raw / 8, Raw % 8>(words, floats, groups, low, planes);
    ans_pack<uint32_t>(words, from, groups, low, planes);
  }
}

int64_t places(const AnsSet& set, const uint8_t* symbols, int64_t count, uint16_t* places) {
  const auto half = [](const uint8_t* at) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  };
  const __m512i first = half(set.rows), second = half(set.rows + 16), nibble = _mm512_set1_epi8(15);
  const __m512i bits = _mm512_set1_epi64(static_cast<int64_t>(0x8040201008040201));
  int64_t found = 0, i = 0;
  for (; i + 64 <= count; i += 64) {
    const __m512i symbol = load(symbols + i), column = _mm512_and_si512(symbol, nibble);
    const __m512i row = _mm512_mask_blend_epi8(_mm512_movepi8_mask(symbol), _mm512_shuffle_epi8(first, column),
                                               _mm512_shuffle_epi8(second, column));
    const __m512i which = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi16(symbol, 4), nibble));
    for (uint64_t mask = _mm512_test_epi8_mask(row, which); mask != 0; mask &= mask - 1)
      places[found++] = static_cast<uint16_t>(i + __builtin_ctzll(mask));
  }
  for (; i < count; ++i)
    if (set.has(symbols[i])) places[found++] = static_cast<uint16_t>(i);
  return found;
}

}  // namespace

void fill_avx512_ans_words(KernelTable& table) {
  table.ans.join[0] = &join_bytes;
  table.ans.join[1] = &join_16<>;
  table.ans.join[2] = &join_32<>;
  table.ans.pack[1] = &pack_16<>;
  table.ans.pack[2] = &pack_32<>;
  table.ans.places = &places;
}

}  // namespace tersely
