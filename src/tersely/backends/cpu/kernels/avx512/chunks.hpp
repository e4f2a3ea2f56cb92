// One chunk of 64 weights to registers, for every dtype and code. AVX-512 with VBMI and VBMI2.
//
//     planes --masked moves--> fields --vpshufb--> symbols <--vpexpandb-- survivors
//     symbols, bytes --unpack, rotate--> 16 rows of a column, or of a pair of columns
//
// Why so: one word of a plane is a mask register, and one vpexpandb is 64 ranks at once.
// Included by kernel files only; everything is internal to them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tersely/backends/cpu/kernels/avx512/float8.hpp"
#include "tersely/backends/cpu/kernels/layout.hpp"
#include "tersely/backends/cpu/kernels/prefetch.hpp"

namespace tersely {
namespace {

#if defined(TERSELY_EMULATE)  // vectors are structs there, and nothing is hot: tests/emulated
#define TERSELY_INLINE inline
#define TERSELY_SINK
TERSELY_INLINE void keep_in_register(__m512i&) {}
TERSELY_INLINE void keep_in_register(uint64_t&) {}
TERSELY_INLINE __m512i fresh_zeros() { return _mm512_setzero_si512(); }
#else
#define TERSELY_INLINE inline __attribute__((always_inline))
// For lambdas: one that is not inlined early keeps sums and vectors in memory, with a store for each in every chunk.
#define TERSELY_SINK __attribute__((always_inline))
// Left to itself the compiler loads a value again for each use, or moves a word from a mask register to a general one.
TERSELY_INLINE void keep_in_register(__m512i& value) { asm("" : "+v"(value)); }
TERSELY_INLINE void keep_in_register(uint64_t& word) { asm("" : "+r"(word)); }
// Zeros to expand into: vpexpand that zeroes waits for the old content of its register all the same, five cycles long
// (MEASURED on Zen 5), and the compiler takes the same register in every chunk. Processors clear one in no time.
TERSELY_INLINE __m512i fresh_zeros() {
  __m512i zeros;
  asm("vpxord %0, %0, %0" : "=v"(zeros));
  return zeros;
}
#endif

TERSELY_INLINE __m512i load512(const void* at) { return _mm512_loadu_si512(at); }
TERSELY_INLINE uint64_t load64(const uint8_t* at) {
  uint64_t word;
  __builtin_memcpy(&word, at, 8);
  return word;
}

// Code indices as in table.hpp: 1 packed, 2..5 layered with 1..4 planes first.
constexpr int kPackedIndex = 1;
constexpr int code_bytes(int code) { return code == kPackedIndex ? 32 : 8 * (code - 1); }

// Takes the survivors in `mask` from the level below. The pointer never passes its end; 64 bytes beyond are readable.
// `Shift`: symbols of float16 and float8 sit above their odd bits. Tables are shifted once; symbols that come from
// escapes still need it (shift), those from a decoded level do not (shift is 0).
template <bool Shift>
TERSELY_INLINE __m512i take_survivors(__m512i symbols, uint64_t mask, const uint8_t*& below, const uint8_t* end,
                                      __m128i shift) {
  __m512i next = load512(below);
  if constexpr (Shift) next = _mm512_sll_epi16(next, shift);
  // Keeps the load apart from vpexpandb, whose memory form is slower.
  keep_in_register(next);
  symbols = _mm512_mask_expand_epi8(symbols, mask, next);
  below += _mm_popcnt_u64(mask);
  below = below < end ? below : end;
  return symbols;
}

// Symbols of one group of planes `stride` words apart.
template <int Width, bool Shift>
TERSELY_INLINE __m512i plane_symbols(const uint8_t* planes, int64_t stride, __m512i table, const uint8_t*& below,
                                     const uint8_t* end, __m128i shift) {
  uint64_t m0 = load64(planes);
  if constexpr (Width <= 2) keep_in_register(m0);
  if constexpr (Width == 1)
    return take_survivors<Shift>(_mm512_shuffle_epi8(table, _mm512_setzero_si512()), m0, below, end, shift);
  const uint64_t m1 = load64(planes + stride * 8);
  if constexpr (Width == 2) {  // three symbols need no table: two masked moves, and survivors replace the rest
    const __m512i second = _mm512_shuffle_epi8(table, _mm512_set1_epi8(1));
    const __m512i third = _mm512_shuffle_epi8(table, _mm512_set1_epi8(2));
    __m512i symbols = _mm512_mask_mov_epi8(_mm512_shuffle_epi8(table, _mm512_setzero_si512()), m0, second);
    symbols = _mm512_mask_mov_epi8(symbols, m1, third);
    return take_survivors<Shift>(symbols, m0 & m1, below, end, shift);
  }
  __m512i fields = _mm512_maskz_mov_epi8(m0, _mm512_set1_epi8(1));
  fields = _mm512_mask_add_epi8(fields, m1, fields, _mm512_set1_epi8(2));
  uint64_t survivors = m0 & m1;
  if constexpr (Width >= 3) {
    const uint64_t m2 = load64(planes + stride * 16);
    fields = _mm512_mask_add_epi8(fields, m2, fields, _mm512_set1_epi8(4));
    survivors &= m2;
  }
  if constexpr (Width >= 4) {
    const uint64_t m3 = load64(planes + stride * 24);
    fields = _mm512_mask_add_epi8(fields, m3, fields, _mm512_set1_epi8(8));
    survivors &= m3;
  }
  return take_survivors<Shift>(_mm512_shuffle_epi8(table, fields), survivors, below, end, shift);
}

// Symbols of 64 packed nibbles; escapes are rare: one predictable branch.
template <bool Shift>
TERSELY_INLINE __m512i packed_symbols(const uint8_t* nibbles, __m512i table, const uint8_t*& below, const uint8_t* end,
                                      __m128i shift) {
  const __m512i fifteen = _mm512_set1_epi8(15);
  __m512i fields = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(nibbles)));
  fields = _mm512_and_si512(_mm512_mask_srli_epi16(fields, 0xFFFF0000u, fields, 4), fifteen);
  __m512i symbols = _mm512_shuffle_epi8(table, fields);
  const uint64_t escapes = _mm512_cmpeq_epi8_mask(fields, fifteen);
  if (__builtin_expect(escapes != 0, 0)) symbols = take_survivors<Shift>(symbols, escapes, below, end, shift);
  return symbols;
}

template <int Code, bool Shift>
TERSELY_INLINE __m512i chunk_symbols(const uint8_t* codes, int64_t c, int64_t j, __m512i table, const uint8_t*& below,
                                     const uint8_t* end, __m128i shift) {
  if constexpr (Code == kPackedIndex)
    return packed_symbols<Shift>(codes + j * 32, table, below, end, shift);
  else
    return plane_symbols<Code - 1, Shift>(codes + j * 8, c, table, below, end, shift);
}

// symbol and byte, as exponent ++ (mantissa << 1 | sign), to words of bfloat16.
TERSELY_INLINE void rotate_heads(__m512i bytes, __m512i symbols, __m512i& low, __m512i& high) {
  keep_in_register(bytes);
  low = _mm512_unpacklo_epi8(bytes, symbols);
  high = _mm512_unpackhi_epi8(bytes, symbols);
  low = _mm512_shrdi_epi16(low, low, 1);
  high = _mm512_shrdi_epi16(high, high, 1);
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

// Vectors of one chunk in vector order: float32 4, bfloat16 and float16 2, float8 1.
template <DType D>
constexpr int kVectors = D == DType::kFloat32                              ? 4
                         : (D == DType::kBfloat16 || D == DType::kFloat16) ? 2
                                                                           : 1;

// How far symbols of a dtype are shifted inside their byte.
constexpr int symbol_shift_in_byte(DType dtype) {
  const Fields& f = kFields[static_cast<int>(dtype)];
  return f.odd_count == 0 ? 0 : f.has_byte ? f.symbol_shift - 8 : f.symbol_shift;
}

// Which eight bits of a plane's word each byte takes, so that its own one comes to `Position`; the others are of other
// places.
template <int Position>
struct PlaneBits {
  alignas(64) uint8_t from[64];
  constexpr PlaneBits() : from{} {
    for (int i = 0; i < 64; ++i) from[i] = static_cast<uint8_t>((i - Position) & 63);
  }
};
template <int Position>
constexpr PlaneBits<Position> kPlaneBits{};
constexpr int bit_of(int value) { return value == 1 ? 0 : 1 + bit_of(value / 2); }

// MEASURED on Zen 5: bits by shifts leave the ports free that moves to mask registers and vpexpandb take, and decode
// float8 12 % faster; products, whose widening shuffles, are 3 % faster by masks.
template <DType D, bool Shifts, int K = 0>
TERSELY_INLINE __m512i with_odd_bits(__m512i symbols, const uint8_t* odd, int64_t c, int64_t j) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  if constexpr (K < f.odd_count) {
    constexpr int value = f.has_byte ? f.odd_values[K] >> 8 : f.odd_values[K];
    const __m512i values = _mm512_set1_epi8(static_cast<char>(value));
    const uint64_t plane = load64(odd + (K * c + j) * 8);
    if constexpr (Shifts) {
      const __m512i from = _mm512_load_si512(kPlaneBits<bit_of(value)>.from);
      const __m512i bits = _mm512_multishift_epi64_epi8(from, _mm512_set1_epi64(static_cast<long long>(plane)));
      symbols = _mm512_ternarylogic_epi64(values, bits, symbols, 0xCA);  // bits where values, else symbols
    } else {
      symbols = _mm512_mask_add_epi8(symbols, plane, symbols, values);
    }
    return with_odd_bits<D, Shifts, K + 1>(symbols, odd, c, j);
  }
  return symbols;
}

template <Tail T>
TERSELY_INLINE void load_tails(const uint8_t* tail, int64_t c, int64_t j, __m512i& first, __m512i& second) {
  if constexpr (T == Tail::kWord) {
    first = load512(tail + j * 128);
    second = load512(tail + j * 128 + 64);
  } else if constexpr (T == Tail::kBits3) {
    first = second = _mm512_setzero_si512();
#pragma GCC unroll 3
    for (int k = 0; k < 3; ++k) {
      const uint64_t plane = load64(tail + (k * c + j) * 8);
      const __m512i value = _mm512_set1_epi16(static_cast<short>(0x2000 << k));
      first = _mm512_mask_add_epi16(first, static_cast<__mmask32>(plane), first, value);
      second = _mm512_mask_add_epi16(second, static_cast<__mmask32>(plane >> 32), second, value);
    }
  } else {
    first = second = _mm512_setzero_si512();
  }
}

// Alone: the vectors are stored, not multiplied.
template <DType D, int Code, Tail T, bool Alone>
TERSELY_INLINE void chunk_vectors(const TilePieces<D, Code, T>& at, int64_t c, int64_t j, __m512i table,
                                  const uint8_t*& below, const uint8_t* end, __m128i shift, __m512i (&v)[kVectors<D>]) {
  __m512i symbols = chunk_symbols<Code, symbol_shift_in_byte(D) != 0>(at.codes, c, j, table, below, end, shift);
  if constexpr (D == DType::kBfloat16) {
    rotate_heads(load512(at.bytes + j * 64), symbols, v[0], v[1]);
  } else if constexpr (D == DType::kFloat32) {
    __m512i low, high, first, second;
    rotate_heads(load512(at.bytes + j * 64), symbols, low, high);
    load_tails<T>(at.tail, c, j, first, second);
    v[0] = _mm512_unpacklo_epi16(first, low);
    v[1] = _mm512_unpackhi_epi16(first, low);
    v[2] = _mm512_unpacklo_epi16(second, high);
    v[3] = _mm512_unpackhi_epi16(second, high);
  } else if constexpr (D == DType::kFloat16) {
    symbols = with_odd_bits<D, Alone>(symbols, at.odd, c, j);
    const __m512i bytes = load512(at.bytes + j * 64);
    v[0] = _mm512_unpacklo_epi8(bytes, symbols);
    v[1] = _mm512_unpackhi_epi8(bytes, symbols);
  } else {
    v[0] = with_odd_bits<D, Alone>(symbols, at.odd, c, j);
  }
}

// Vectors of a chunk to 16 rows of each of its four columns as float32.
template <DType D>
TERSELY_INLINE void chunk_floats(const __m512i (&v)[kVectors<D>], __m512 (&f)[4]) {
  if constexpr (D == DType::kFloat32) {
    for (int i = 0; i < 4; ++i) f[i] = _mm512_castsi512_ps(v[i]);
  } else if constexpr (D == DType::kBfloat16) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
    for (int i = 0; i < 2; ++i) {
      f[2 * i] = _mm512_castsi512_ps(_mm512_slli_epi32(v[i], 16));
      f[2 * i + 1] = _mm512_castsi512_ps(_mm512_and_si512(v[i], upper));
    }
  } else if constexpr (D == DType::kFloat16) {
    for (int i = 0; i < 2; ++i) {
      f[2 * i] = _mm512_cvtph_ps(_mm512_castsi512_si256(v[i]));
      f[2 * i + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(v[i], 1));
    }
  } else {
    float8_floats<D>(v[0], f);
  }
}

}  // namespace
}  // namespace tersely
