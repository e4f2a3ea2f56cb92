// Words of symbols and raw bits, in plain loops that compilers make vectors of; included by one file of each
// instruction set, and internal to it.
#pragma once

#include <cstring>
#include <type_traits>

#include "tersely/backends/cpu/kernels/ans.hpp"

namespace tersely {
namespace {

inline void ans_tables(const int8_t* columns, int64_t count, int row, int last, uint8_t* tables) {
  const auto add = static_cast<int8_t>(row), most = static_cast<int8_t>(last);
  for (int64_t i = 0; i < count; ++i) {
    auto table = static_cast<int8_t>(columns[i] + add);
    table = table < 0 ? int8_t{0} : table;
    tables[i] = static_cast<uint8_t>(table > most ? most : table);
  }
}

// Fields of Bits bits (0 to 7) of 64 words: planes of 4, 2 and 1 bits, the highest first.
template <int Bits>
inline void ans_fields(const uint8_t* planes, uint8_t* out) {
  if constexpr (Bits == 0) return;
  uint8_t high[64] = {}, middle[64] = {}, low[64] = {};
  constexpr int kMiddle = Bits & 4 ? 32 : 0, kLow = kMiddle + (Bits & 2 ? 16 : 0);
  if constexpr (Bits & 4)
    for (int i = 0; i < 32; ++i) {
      high[i] = static_cast<uint8_t>((planes[i] & 15) << (Bits & 3));
      high[32 + i] = static_cast<uint8_t>(planes[i] >> 4 << (Bits & 3));
    }
  if constexpr (Bits & 2)
    for (int part = 0; part < 4; ++part)
      for (int i = 0; i < 16; ++i)
        middle[part * 16 + i] = static_cast<uint8_t>((planes[kMiddle + i] >> 2 * part & 3) << (Bits & 1));
  if constexpr (Bits & 1)
    for (int part = 0; part < 8; ++part)
      for (int i = 0; i < 8; ++i) low[part * 8 + i] = planes[kLow + i] >> part & 1;
  for (int i = 0; i < 64; ++i) out[i] = static_cast<uint8_t>(high[i] | middle[i] | low[i]);
}

template <class Piece>
inline Piece ans_load(const uint8_t* at) {
  Piece piece;
  std::memcpy(&piece, at, sizeof piece);
  return piece;
}

// The number of `Whole` bytes, of loads that compilers see through.
template <class Word, int Whole>
inline Word ans_whole(const uint8_t* at) {
  if constexpr (Whole == 0)
    return 0;
  else if constexpr (Whole == 1)
    return *at;
  else if constexpr (Whole < 4)
    return static_cast<Word>(ans_load<uint16_t>(at) | static_cast<uint32_t>(ans_whole<Word, Whole - 2>(at + 2)) << 16);
  else if constexpr (Whole == 8)
    return static_cast<Word>(ans_load<uint64_t>(at));
  else
    return static_cast<Word>(ans_load<uint32_t>(at) | static_cast<uint64_t>(ans_whole<Word, Whole - 4>(at + 4)) << 32);
}

template <class Word, int Whole, int Bits, bool Rotated>
inline void ans_unpack_of(int trim, const uint8_t* low, const uint8_t* planes, int64_t groups, Word* out) {
  constexpr int kBits = 8 * sizeof(Word);
  for (int64_t group = 0; group < groups; ++group, low += 64 * Whole, planes += 8 * Bits, out += 64) {
    alignas(64) uint8_t fields[64];
    ans_fields<Bits>(planes, fields);
    for (int i = 0; i < 64; ++i) {
      Word value = ans_whole<Word, Whole>(low + i * Whole);
      if constexpr (Bits > 0 && Whole < static_cast<int>(sizeof(Word)))
        value = static_cast<Word>(value | static_cast<Word>(fields[i]) << 8 * Whole);
      if constexpr (Rotated)
        out[i] = static_cast<Word>(static_cast<Word>(value >> 1) << trim | static_cast<Word>(value << (kBits - 1)));
      else
        out[i] = static_cast<Word>(value << trim);
    }
  }
}

template <class Word, int Whole, int Bits>
void ans_unpack_sign(const AnsWords& words, const uint8_t* low, const uint8_t* planes, int64_t groups, Word* out) {
  if (words.rotated)
    ans_unpack_of<Word, Whole, Bits, true>(words.trim, low, planes, groups, out);
  else
    ans_unpack_of<Word, Whole, Bits, false>(words.trim, low, planes, groups, out);
}

template <class Word, int Whole>
void ans_unpack_bits(const AnsWords& words, const uint8_t* low, const uint8_t* planes, int64_t groups, Word* out) {
  switch (words.raw % 8) {
    case 0:
      return ans_unpack_sign<Word, Whole, 0>(words, low, planes, groups, out);
    case 1:
      return ans_unpack_sign<Word, Whole, 1>(words, low, planes, groups, out);
    case 2:
      return ans_unpack_sign<Word, Whole, 2>(words, low, planes, groups, out);
    case 3:
      return ans_unpack_sign<Word, Whole, 3>(words, low, planes, groups, out);
    case 4:
      return ans_unpack_sign<Word, Whole, 4>(words, low, planes, groups, out);
    case 5:
      return ans_unpack_sign<Word, Whole, 5>(words, low, planes, groups, out);
    case 6:
      return ans_unpack_sign<Word, Whole, 6>(words, low, planes, groups, out);
    default:
      return ans_unpack_sign<Word, Whole, 7>(words, low, planes, groups, out);
  }
}

template <class Word, int Whole = 0>
void ans_unpack(const AnsWords& words, const uint8_t* low, const uint8_t* planes, int64_t groups, void* out) {
  if constexpr (Whole <= static_cast<int>(sizeof(Word))) {
    if (words.raw / 8 == Whole)
      ans_unpack_bits<Word, Whole>(words, low, planes, groups, static_cast<Word*>(out));
    else
      ans_unpack<Word, Whole + 1>(words, low, planes, groups, out);
  }
}

// Planes of fields of 64 words: ans_fields the other way.
template <int Bits>
inline void ans_planes(const uint8_t* fields, uint8_t* out) {
  if constexpr (Bits & 4)
    for (int i = 0; i < 32; ++i)
      *out++ = static_cast<uint8_t>((fields[i] >> (Bits & 3) & 15) | (fields[32 + i] >> (Bits & 3) & 15) << 4);
  if constexpr (Bits & 2)
    for (int i = 0; i < 16; ++i) {
      int byte = 0;
      for (int part = 0; part < 4; ++part) byte |= (fields[part * 16 + i] >> (Bits & 1) & 3) << 2 * part;
      *out++ = static_cast<uint8_t>(byte);
    }
  if constexpr (Bits & 1)
    for (int i = 0; i < 8; ++i) {
      int byte = 0;
      for (int part = 0; part < 8; ++part) byte |= (fields[part * 8 + i] & 1) << part;
      *out++ = static_cast<uint8_t>(byte);
    }
}

// A word's value: without trimmed bits, the sign below the rest.
template <class Word>
inline Word ans_value(const AnsWords& words, Word word) {
  constexpr int kTop = 8 * sizeof(Word) - 1;
  if (!words.rotated) return static_cast<Word>(word >> words.trim);
  const auto magnitude = static_cast<Word>(static_cast<Word>(word << 1) >> 1);
  return static_cast<Word>(static_cast<Word>(magnitude >> words.trim) << 1 | word >> kTop);
}

template <class Word, int Whole, int Bits>
void ans_pack_of(const AnsWords& words, const Word* from, int64_t groups, uint8_t* low, uint8_t* planes) {
  for (int64_t group = 0; group < groups; ++group, from += 64, low += 64 * Whole, planes += 8 * Bits) {
    alignas(64) Word values[64];
    for (int i = 0; i < 64; ++i) values[i] = ans_value(words, from[i]);
    if constexpr (Whole == 1 || Whole == 2) {  // as vectors
      std::conditional_t<Whole == 1, uint8_t, uint16_t> whole[64];
      for (int i = 0; i < 64; ++i) whole[i] = static_cast<std::remove_reference_t<decltype(whole[0])>>(values[i]);
      std::memcpy(low, whole, sizeof whole);
    } else {
      for (int i = 0; i < 64; ++i) std::memcpy(low + i * Whole, values + i, Whole);
    }
    if constexpr (Bits > 0 && Whole < static_cast<int>(sizeof(Word))) {
      uint8_t fields[64];
      for (int i = 0; i < 64; ++i) fields[i] = static_cast<uint8_t>(values[i] >> 8 * Whole & ((1 << Bits) - 1));
      ans_planes<Bits>(fields, planes);
    }
  }
}

template <class Word, int Whole = 0, int Bits = 0>
void ans_pack(const AnsWords& words, const void* from, int64_t groups, uint8_t* low, uint8_t* planes) {
  if constexpr (Bits == 8) {
    if constexpr (Whole < static_cast<int>(sizeof(Word))) ans_pack<Word, Whole + 1>(words, from, groups, low, planes);
  } else if (words.raw == 8 * Whole + Bits) {
    ans_pack_of<Word, Whole, Bits>(words, static_cast<const Word*>(from), groups, low, planes);
  } else {
    ans_pack<Word, Whole, Bits + 1>(words, from, groups, low, planes);
  }
}

// One symbol: the state gives a word away where it would become too large.
inline void ans_encode_one(uint32_t coded, uint32_t& state, uint16_t*& at) {
  const uint32_t frequency = coded & 0xFFFF;
  const bool full = state >= frequency << (32 - kAnsPrecision);
  at[-1] = static_cast<uint16_t>(state);
  at -= full;
  const uint32_t rest = full ? state >> 16 : state;
  state = (rest / frequency << kAnsPrecision) + rest % frequency + (coded >> 16);
}

// Where lowest bits go in a word.
template <class Word>
inline Word ans_lowest(const AnsWords& words, uint8_t lowest) {
  constexpr int kTop = 8 * sizeof(Word) - 1;
  if (!words.low_rotated) return static_cast<Word>(static_cast<Word>(lowest) << words.low_trim);
  return static_cast<Word>(static_cast<Word>(lowest >> 1) << words.low_trim | static_cast<Word>(lowest) << kTop);
}

template <class Word>
void ans_join(const AnsWords& words, const uint8_t* symbols, const uint8_t* lowest, const uint8_t* low,
              const uint8_t* planes, int64_t groups, void* out) {
  constexpr int64_t kSome = 8;
  const auto* by_symbol = static_cast<const Word*>(words.by_symbol);
  auto* to = static_cast<Word*>(out);
  Word raw[kSome * 64] = {};
  for (; groups > 0; groups -= kSome) {
    const int64_t some = groups < kSome ? groups : kSome;
    if (words.raw > 0) ans_unpack<Word>(words, low, planes, some, raw);
    for (int64_t i = 0; i < some * 64; ++i) to[i] = static_cast<Word>(by_symbol[symbols[i]] ^ raw[i]);
    if (lowest != nullptr) {
      for (int64_t i = 0; i < some * 64; ++i) to[i] = static_cast<Word>(to[i] ^ ans_lowest<Word>(words, lowest[i]));
      lowest += some * 64;
    }
    symbols += some * 64, to += some * 64;
    low += some * 64 * (words.raw / 8), planes += some * 8 * (words.raw % 8);
  }
}

inline int64_t ans_places(const AnsSet& set, const uint8_t* symbols, int64_t count, uint16_t* places) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i)
    if (set.has(symbols[i])) places[found++] = static_cast<uint16_t>(i);
  return found;
}

template <class Word>
int64_t ans_combine(const AnsWords& words, const uint8_t* symbols, int64_t count, const void* raw, void* out) {
  const auto* by_symbol = static_cast<const Word*>(words.by_symbol);
  const auto* next = static_cast<const Word*>(raw);
  auto* to = static_cast<Word*>(out);
  if (words.raw == 0) {
    for (int64_t i = 0; i < count; ++i) to[i] = by_symbol[symbols[i]];
    return count;
  }
  if (!words.zero) {
    for (int64_t i = 0; i < count; ++i) to[i] = by_symbol[symbols[i]] | next[i];
    return count;
  }
  int64_t used = 0;
  for (int64_t i = 0; i < count; ++i) {  // no branch: which words are zero, no predictor foresees
    const bool kept = symbols[i] != 0;
    to[i] = by_symbol[symbols[i]] | static_cast<Word>(next[used] & static_cast<Word>(-static_cast<Word>(kept)));
    used += kept;
  }
  return used;
}

constexpr AnsKernels kAnsLoops = {
    {nullptr, nullptr},
    {nullptr, nullptr},
    &ans_tables,
    {&ans_unpack<uint8_t>, &ans_unpack<uint16_t>, &ans_unpack<uint32_t>, &ans_unpack<uint64_t>},
    {&ans_pack<uint8_t>, &ans_pack<uint16_t>, &ans_pack<uint32_t>, &ans_pack<uint64_t>},
    {&ans_join<uint8_t>, &ans_join<uint16_t>, &ans_join<uint32_t>, &ans_join<uint64_t>},
    &ans_places,
    {&ans_combine<uint8_t>, &ans_combine<uint16_t>, &ans_combine<uint32_t>, &ans_combine<uint64_t>},
};

}  // namespace
}  // namespace tersely
