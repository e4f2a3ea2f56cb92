// Quantised values, number by number, in vectors of 16; included by one file of each instruction set, and internal to
// it. No product and sum may become one operation (-ffp-contract=off): its rounding would be another.
#pragma once

#include "tersely/backends/cpu/kernels/quantised.hpp"

namespace tersely {
namespace {

typedef float Floats16 __attribute__((vector_size(64)));
typedef int32_t Integers16 __attribute__((vector_size(64)));
typedef uint8_t Bytes16 __attribute__((vector_size(16)));

inline __attribute__((always_inline)) Integers16 widened(const uint8_t* at) {
  Bytes16 bytes;
  __builtin_memcpy(&bytes, at, sizeof bytes);
  return __builtin_convertvector(bytes, Integers16);
}

inline __attribute__((always_inline)) Floats16 all_of(float value) { return Floats16{} + value; }

template <class Vector, class Number>
inline __attribute__((always_inline)) Vector loaded(const Number* at) {
  Vector v;
  __builtin_memcpy(&v, at, sizeof v);
  return v;
}

// Numbers below 2^22 in size: ties to even, since adding 1.5 x 2^23 leaves no bit behind the point.
inline __attribute__((always_inline)) Integers16 rounded(Floats16 value) {
  const Floats16 magic = all_of(12582912.0F);
  const Floats16 shifted = value + magic;
  Integers16 bits, base;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  __builtin_memcpy(&base, &magic, sizeof base);
  return bits - base;
}

// NaN becomes low.
inline __attribute__((always_inline)) Floats16 clamped(Floats16 value, float low, float high) {
  value = value > low ? value : all_of(low);
  return value < high ? value : all_of(high);
}

inline __attribute__((always_inline)) void store_bytes(Integers16 value, uint8_t* y) {
  const Bytes16 bytes = __builtin_convertvector(value, Bytes16);
  __builtin_memcpy(y, &bytes, sizeof bytes);
}

inline __attribute__((always_inline)) void requantise(Integers16 sums, Floats16 scale, const Requantisation& to,
                                                      uint8_t* y) {
  const Floats16 value = __builtin_convertvector(sums, Floats16) * scale;
  store_bytes(rounded(clamped(value, to.low, to.high)) + to.zero, y);
}

// What is left of a count after whole vectors: through memory of its own.
template <class From, class To, class F>
inline __attribute__((always_inline)) void by_sixteen(const From* x, int64_t count, To* y, F f) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) f(x + i, y + i);
  if (i == count) return;
  From from[16]{};
  To to[16];
  __builtin_memcpy(from, x + i, static_cast<size_t>(count - i) * sizeof(From));
  f(from, to);
  __builtin_memcpy(y + i, to, static_cast<size_t>(count - i) * sizeof(To));
}

void quantise_floats(const float* x, int64_t count, float scale, int32_t zero, uint8_t* y) {
  const auto low = static_cast<float>(-zero), high = static_cast<float>(255 - zero);
  by_sixteen(x, count, y, [&](const float* from, uint8_t* to) {
    store_bytes(rounded(clamped(loaded<Floats16>(from) / scale, low, high)) + zero, to);
  });
}

void dequantise_bytes(const uint8_t* x, int64_t count, float scale, int32_t zero, float* y) {
  by_sixteen(x, count, y, [&](const uint8_t* from, float* to) {
    const Floats16 value = __builtin_convertvector(widened(from) - zero, Floats16) * scale;
    __builtin_memcpy(to, &value, sizeof value);
  });
}

// Division is slow, so a product with the reciprocal is taken for it, within 3 units in the last place; where one so
// near to a tie could be rounded to another integer, all sixteen are divided. Isa has add_sixteen, which does so.
template <class Isa>
void add_quantised(const uint8_t* x, const uint8_t* z, int64_t count, const QuantisedSum& sum, uint8_t* y) {
  const QuantisedSum s = sum;
  const float reciprocal = 1.0F / s.y_scale;
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) Isa::add_sixteen(x + i, z + i, s, reciprocal, y + i);
  if (i == count) return;
  uint8_t a[16]{}, b[16]{}, to[16];
  __builtin_memcpy(a, x + i, static_cast<size_t>(count - i));
  __builtin_memcpy(b, z + i, static_cast<size_t>(count - i));
  Isa::add_sixteen(a, b, s, reciprocal, to);
  __builtin_memcpy(y + i, to, static_cast<size_t>(count - i));
}
inline constexpr float kNearTie = 0.4999F;

void look_up_bytes(const uint8_t* x, int64_t count, const uint8_t* table, uint8_t* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = table[x[i]];
}

void greatest_bytes(const QuantisedWindow& window, uint8_t* y) {
  Bytes16 most = loaded<Bytes16>(window.x);
  for (int64_t row = 0; row < window.rows; ++row)
    for (int64_t column = 0; column < window.columns; ++column) {
      const Bytes16 value = loaded<Bytes16>(window.x + row * window.row + column * window.column);
      most = value > most ? value : most;
    }
  __builtin_memcpy(y, &most, sizeof most);
}

void mean_bytes(const QuantisedWindow& window, int32_t start, const Requantisation& to, uint8_t* y) {
  Integers16 sums = Integers16{} + start;
  for (int64_t row = 0; row < window.rows; ++row)
    for (int64_t column = 0; column < window.columns; ++column)
      sums += widened(window.x + row * window.row + column * window.column);
  requantise(sums, all_of(to.scale[0]), to, y);
}

// Four columns of 16 rows to 16 rows of four.
void turn_columns(const uint8_t* chunks, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i, chunks += 64, out += 64) {
    const auto a = loaded<Bytes16>(chunks), b = loaded<Bytes16>(chunks + 16);
    const auto c = loaded<Bytes16>(chunks + 32), d = loaded<Bytes16>(chunks + 48);
    typedef uint16_t Pairs8 __attribute__((vector_size(16)));
    const Bytes16 low{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    const Bytes16 high{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const Pairs8 low2{0, 8, 1, 9, 2, 10, 3, 11}, high2{4, 12, 5, 13, 6, 14, 7, 15};
    const Bytes16 halves[2][2] = {{__builtin_shuffle(a, b, low), __builtin_shuffle(c, d, low)},
                                  {__builtin_shuffle(a, b, high), __builtin_shuffle(c, d, high)}};
    for (int k = 0; k < 2; ++k) {
      const auto ab = loaded<Pairs8>(&halves[k][0]), cd = loaded<Pairs8>(&halves[k][1]);
      const Pairs8 first = __builtin_shuffle(ab, cd, low2), second = __builtin_shuffle(ab, cd, high2);
      __builtin_memcpy(out + k * 32, &first, sizeof first);
      __builtin_memcpy(out + k * 32 + 16, &second, sizeof second);
    }
  }
}

// Isa has Sums, of 16 channels: load (of integers), add (sums + bytes x weights that fit 16 bits), requantise.
template <class Isa>
struct QuantisedDepthwise {
  static constexpr int kPixels = 4;

  template <int Pixels>
  static inline __attribute__((always_inline)) void tile(const QuantisedDepthwiseRow& row, int64_t pixel, uint8_t* y) {
    const int64_t step = row.x_step, column = row.x_column;
    const uint8_t* x = row.x + pixel * step;
    const int32_t* w = row.weights;
    typename Isa::Sums sums[Pixels];
#pragma GCC unroll 4
    for (int p = 0; p < Pixels; ++p) sums[p] = Isa::load(row.start);
    for (int64_t i = 0; i < row.rows; ++i, x += row.x_row) {
      const uint8_t* at = x;
      for (int64_t j = 0; j < row.columns; ++j, at += column, w += 16) {
        const auto weight = Isa::load(w);
#pragma GCC unroll 4
        for (int p = 0; p < Pixels; ++p) Isa::add(sums[p], at + p * step, weight);
      }
    }
    const Requantisation to = row.to;  // stores to y may not make the compiler read it again
#pragma GCC unroll 4
    for (int p = 0; p < Pixels; ++p) Isa::requantise(sums[p], to, y + (pixel + p) * 16);
  }

  static void convolve(const QuantisedDepthwiseRow& row, uint8_t* y, int64_t pixels) {
    int64_t pixel = 0;
    for (; pixel + kPixels <= pixels; pixel += kPixels) tile<kPixels>(row, pixel, y);
    for (; pixel < pixels; ++pixel) tile<1>(row, pixel, y);
  }
};

template <class Isa>
constexpr QuantisedKernels quantised_kernels(ConvolveQuantised convolve) {
  return {convolve,        turn_columns,     QuantisedDepthwise<Isa>::convolve,
          quantise_floats, dequantise_bytes, add_quantised<Isa>,
          look_up_bytes,   greatest_bytes,   mean_bytes};
}

}  // namespace
}  // namespace tersely
