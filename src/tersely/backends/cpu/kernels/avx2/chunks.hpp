// One chunk of 64 weights to registers under AVX2: two halves of 32 bytes, each 8 rows (or 2 columns) of the chunk.
//
// packed nibbles: two ands, a shift, a byte shuffle; escapes behind one predictable branch. Planes have no cheap way to
// bytes here (no mask registers), and survivors go to their positions eight at a time: layered codes of 16-bit weights
// are for size on this set. Included by kernel files only; everything is internal to them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tersely/backends/cpu/kernels/avx2/survivors.hpp"
#include "tersely/backends/cpu/kernels/layout.hpp"
#include "tersely/backends/cpu/kernels/prefetch.hpp"

namespace tersely {
namespace {

#define TERSELY_INLINE inline __attribute__((always_inline))

constexpr int kPackedIndex = 1;
constexpr int code_bytes(int code) { return code == kPackedIndex ? 32 : 8 * (code - 1); }

TERSELY_INLINE __m256i load256(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
TERSELY_INLINE void store256(void* at, __m256i value) { _mm256_storeu_si256(static_cast<__m256i*>(at), value); }
TERSELY_INLINE uint64_t load64(const uint8_t* at) {
  uint64_t word;
  __builtin_memcpy(&word, at, 8);
  return word;
}
TERSELY_INLINE __m256i broadcast_table(const uint8_t* table) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}
// Puts the next symbols of the level below at the positions of the mask, where `symbols` are zero: tables hold no
// symbol for a survivor. SAFE BECAUSE: `below` never passes its end, and 64 bytes from there on are read at most.
TERSELY_INLINE void take_survivors(__m256i (&symbols)[2], uint64_t mask, const uint8_t*& below, const uint8_t* end) {
  __m256i expanded[2];
  expand_bytes(below, mask, expanded);
  symbols[0] = _mm256_or_si256(symbols[0], expanded[0]);
  symbols[1] = _mm256_or_si256(symbols[1], expanded[1]);
  below += _mm_popcnt_u64(mask);
  below = below < end ? below : end;
}

TERSELY_INLINE void packed_symbols(const uint8_t* nibbles, __m256i table, const uint8_t*& below, const uint8_t* end,
                                   __m256i (&symbols)[2]) {
  const __m256i fifteen = _mm256_set1_epi8(15), both = load256(nibbles);
  const __m256i low = _mm256_and_si256(both, fifteen);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), fifteen);
  symbols[0] = _mm256_shuffle_epi8(table, low);
  symbols[1] = _mm256_shuffle_epi8(table, high);
  const __m256i escapes_low = _mm256_cmpeq_epi8(low, fifteen), escapes_high = _mm256_cmpeq_epi8(high, fifteen);
  const __m256i any = _mm256_or_si256(escapes_low, escapes_high);
  if (__builtin_expect(!_mm256_testz_si256(any, any), 0)) {
    take_survivors(symbols, byte_mask(escapes_low, escapes_high), below, end);
  }
}

TERSELY_INLINE __m256i broadcast_word(const uint8_t* at) {
  return _mm256_set1_epi64x(static_cast<long long>(load64(at)));
}
// 32 bits of a word that was broadcast to 32 bytes of all ones or zeros.
TERSELY_INLINE __m256i half_to_bytes(__m256i word, int half) {
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  const __m256i select =
      half == 0 ? _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303)
                : _mm256_setr_epi64x(0x0404040404040404, 0x0505050505050505, 0x0606060606060606, 0x0707070707070707);
  return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(word, select), bit), bit);
}

// A survivor has a one in every plane, so the mask is there before any byte is.
// Survivors are taken without a branch even where three planes leave most groups without any: it would be guessed
// wrong.
template <int Width>
TERSELY_INLINE void plane_symbols(const uint8_t* planes, int64_t stride, __m256i table, const uint8_t*& below,
                                  const uint8_t* end, __m256i (&symbols)[2]) {
  __m256i words[Width];
  uint64_t mask = ~uint64_t{0};
  for (int k = 0; k < Width; ++k) {
    const uint64_t word = load64(planes + k * stride * 8);
    words[k] = _mm256_set1_epi64x(static_cast<long long>(word));
    mask &= word;
  }
  for (int half = 0; half < 2; ++half) {
    __m256i fields = _mm256_setzero_si256();
    for (int k = 0; k < Width; ++k)
      fields = _mm256_or_si256(
          fields, _mm256_and_si256(half_to_bytes(words[k], half), _mm256_set1_epi8(static_cast<char>(1 << k))));
    symbols[half] = _mm256_shuffle_epi8(table, fields);
  }
  take_survivors(symbols, mask, below, end);
}

template <int Code>
TERSELY_INLINE void chunk_symbols(const uint8_t* codes, int64_t c, int64_t j, __m256i table, const uint8_t*& below,
                                  const uint8_t* end, __m256i (&symbols)[2]) {
  if constexpr (Code == kPackedIndex) {
    packed_symbols(codes + j * 32, table, below, end, symbols);
  } else {
    plane_symbols<Code - 1>(codes + j * 8, c, table, below, end, symbols);
  }
}

// Pointers into one tile of c chunks.
template <DType D, int Code, Tail T>
struct TilePieces {
  const uint8_t *codes, *odd, *bytes, *tail, *end;
  TERSELY_INLINE TilePieces(const uint8_t* tile, int64_t c) {
    constexpr Fields f = kFields[static_cast<int>(D)];
    codes = tile;
    odd = codes + c * code_bytes(Code);
    bytes = odd + c * 8 * f.odd_count;
    tail = bytes + (f.has_byte ? c * 64 : 0);
    end = tail + c * kTailBytes[static_cast<int>(T)];
  }
};

// 32-byte vectors of one chunk in vector order: float32 8, bfloat16 and float16 4, float8 2.
template <DType D>
constexpr int kVectors = 2 * kFields[static_cast<int>(D)].word_bytes;

template <DType D>
TERSELY_INLINE __m256i with_odd_bits(__m256i symbols, const uint8_t* odd, int64_t c, int64_t j, int half) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  constexpr int shift = f.has_byte ? f.symbol_shift - 8 : f.symbol_shift;
  symbols = _mm256_and_si256(symbols, _mm256_set1_epi8((1 << f.symbol_bits) - 1));
  symbols = _mm256_slli_epi16(symbols, shift);
  for (int k = 0; k < f.odd_count; ++k) {
    const auto value = static_cast<char>(f.has_byte ? f.odd_values[k] >> 8 : f.odd_values[k]);
    const __m256i set = half_to_bytes(broadcast_word(odd + (k * c + j) * 8), half);
    symbols = _mm256_or_si256(symbols, _mm256_and_si256(set, _mm256_set1_epi8(value)));
  }
  return symbols;
}

TERSELY_INLINE __m256i rotate_right(__m256i words) {
  return _mm256_or_si256(_mm256_srli_epi16(words, 1), _mm256_slli_epi16(words, 15));
}

// Tail words of one half: [0] for columns 0 and 1, [1] for columns 2 and 3.
template <Tail T>
TERSELY_INLINE void load_tails(const uint8_t* tail, int64_t c, int64_t j, int half, __m256i (&out)[2]) {
  for (int pair = 0; pair < 2; ++pair) {
    if constexpr (T == Tail::kWord) {
      out[pair] = load256(tail + j * 128 + pair * 64 + half * 32);
    } else {
      out[pair] = _mm256_setzero_si256();
      for (int k = 0; T == Tail::kBits3 && k < 3; ++k) {
        const uint64_t plane = load64(tail + (k * c + j) * 8);
        const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
                                              static_cast<short>(0x8000));
        const __m256i spread = _mm256_set1_epi16(static_cast<short>(plane >> (32 * pair + 16 * half)));
        const __m256i set = _mm256_cmpeq_epi16(_mm256_and_si256(spread, bit), bit);
        out[pair] =
            _mm256_or_si256(out[pair], _mm256_and_si256(set, _mm256_set1_epi16(static_cast<short>(0x2000 << k))));
      }
    }
  }
}

// v[i]: bytes 32 i .. 32 i + 31 of the chunk in vector order.
template <DType D, int Code, Tail T>
TERSELY_INLINE void chunk_vectors(const TilePieces<D, Code, T>& at, int64_t c, int64_t j, __m256i table,
                                  const uint8_t*& below, const uint8_t* end, __m256i (&v)[kVectors<D>]) {
  __m256i symbols[2];
  chunk_symbols<Code>(at.codes, c, j, table, below, end, symbols);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    if constexpr (D == DType::kBfloat16 || D == DType::kFloat32) {
      const __m256i bytes = load256(at.bytes + j * 64 + half * 32);
      const __m256i low = rotate_right(_mm256_unpacklo_epi8(bytes, symbols[half]));
      const __m256i high = rotate_right(_mm256_unpackhi_epi8(bytes, symbols[half]));
      if constexpr (D == DType::kBfloat16) {
        v[half] = low;
        v[2 + half] = high;
      } else {
        __m256i tails[2];
        load_tails<T>(at.tail, c, j, half, tails);
        v[half] = _mm256_unpacklo_epi16(tails[0], low);
        v[2 + half] = _mm256_unpackhi_epi16(tails[0], low);
        v[4 + half] = _mm256_unpacklo_epi16(tails[1], high);
        v[6 + half] = _mm256_unpackhi_epi16(tails[1], high);
      }
    } else if constexpr (D == DType::kFloat16) {
      const __m256i high = with_odd_bits<D>(symbols[half], at.odd, c, j, half);
      const __m256i bytes = load256(at.bytes + j * 64 + half * 32);
      v[half] = _mm256_unpacklo_epi8(bytes, high);
      v[2 + half] = _mm256_unpackhi_epi8(bytes, high);
    } else {
      v[half] = with_odd_bits<D>(symbols[half], at.odd, c, j, half);
    }
  }
}

// Eight float8 bytes. e4m3 as float16 is 2^-8 of its value, NaN apart.
template <DType D>
TERSELY_INLINE __m256 widen_float8(__m128i bytes) {
  const __m128i words = _mm_cvtepu8_epi16(bytes);
  if constexpr (D == DType::kFloat8E5M2) return _mm256_cvtph_ps(_mm_slli_epi16(words, 8));
  const __m128i magnitude = _mm_and_si128(words, _mm_set1_epi16(0x7F));
  const __m128i sign = _mm_slli_epi16(_mm_and_si128(words, _mm_set1_epi16(0x80)), 8);
  const __m256i nan = _mm256_cvtepi16_epi32(_mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F)));
  const __m256 value = _mm256_cvtph_ps(_mm_or_si128(sign, _mm_slli_epi16(magnitude, 7)));
  return _mm256_blendv_ps(_mm256_mul_ps(value, _mm256_set1_ps(256.0f)),
                          _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000)), _mm256_castsi256_ps(nan));
}

// Vectors of a chunk to float32: f[column][half], rows 8 half .. 8 half + 7.
template <DType D>
TERSELY_INLINE void chunk_floats(const __m256i (&v)[kVectors<D>], __m256 (&f)[4][2]) {
  if constexpr (D == DType::kFloat32) {
    for (int i = 0; i < 8; ++i) f[i / 2][i % 2] = _mm256_castsi256_ps(v[i]);
  } else if constexpr (D == DType::kBfloat16) {
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xFFFF0000));
    for (int i = 0; i < 4; ++i) {
      f[i / 2 * 2][i % 2] = _mm256_castsi256_ps(_mm256_slli_epi32(v[i], 16));
      f[i / 2 * 2 + 1][i % 2] = _mm256_castsi256_ps(_mm256_and_si256(v[i], upper));
    }
  } else if constexpr (D == DType::kFloat16) {
    for (int i = 0; i < 4; ++i) {
      f[i][0] = _mm256_cvtph_ps(_mm256_castsi256_si128(v[i]));
      f[i][1] = _mm256_cvtph_ps(_mm256_extracti128_si256(v[i], 1));
    }
  } else {
    for (int i = 0; i < 4; ++i) {
      const __m128i column = i % 2 == 0 ? _mm256_castsi256_si128(v[i / 2]) : _mm256_extracti128_si256(v[i / 2], 1);
      f[i][0] = widen_float8<D>(column);
      f[i][1] = widen_float8<D>(_mm_unpackhi_epi64(column, column));
    }
  }
}

}  // namespace
}  // namespace tersely
