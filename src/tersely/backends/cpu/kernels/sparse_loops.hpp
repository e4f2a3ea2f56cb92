// Sparse products in registers of `Lanes` floats; included by one file of each instruction set, and internal to it.
#pragma once

#include "tersely/backends/cpu/kernels/sparse.hpp"

namespace tersely {
namespace {

template <int Lanes>
struct SparseLoops {
  static constexpr int kVectors = 14;   // with the weight and a spare one all sixteen registers of AVX2
  static constexpr int64_t kAhead = 4;  // rows whose entries are fetched
  template <int Width>
  struct Register {
    typedef float Vector __attribute__((vector_size(Width * 4)));
    static Vector load(const float* at) {
      Vector v;
      __builtin_memcpy(&v, at, sizeof v);
      return v;
    }
    static Vector all(float value) { return value - Vector{}; }  // less zero is no operation, of -0.0 neither
  };
  using Vector = typename Register<Lanes>::Vector;
  static Vector load(const float* at) { return Register<Lanes>::load(at); }
  static void store(float* at, Vector v) { __builtin_memcpy(at, &v, sizeof v); }

  // Of each lane the one that is not zero bits.
  static Vector either(Vector a, Vector b) {
    typedef int32_t Words __attribute__((vector_size(Lanes * 4)));
    return reinterpret_cast<Vector>(reinterpret_cast<Words>(a) | reinterpret_cast<Words>(b));
  }

  // Few registers hide the latency of an FMA by a second set of sums.
  template <int Vectors>
  static void multiply_rows(const SparseBlock& b) {
    constexpr int kSets = Vectors <= 4 ? 2 : 1;
    const uintptr_t x = reinterpret_cast<uintptr_t>(b.x) - b.begin;
    const uint32_t end = b.end;
    float* y = b.sums;
    for (int64_t row = 0; row < b.rows; ++row, y += b.stride) {
      const SparseEntry* e = b.entries + b.next[row];
      // A row's entries in the next block of columns lie far from those of the next row in this one.
      const SparseEntry* ahead = b.entries + b.next[row + kAhead < b.rows ? row + kAhead : row];
      __builtin_prefetch(ahead), __builtin_prefetch(ahead + 8);
      Vector sums[kSets][Vectors]{};
      if (!b.first) {
#pragma GCC unroll 14
        for (int v = 0; v < Vectors; ++v) sums[0][v] = load(y + v * Lanes);
      }
      const auto add = [&](const SparseEntry& entry, Vector(&to)[Vectors]) __attribute__((always_inline)) {
        const Vector weight = Register<Lanes>::all(entry.value);
        const auto* at = reinterpret_cast<const float*>(x + entry.at);
#pragma GCC unroll 14
        for (int v = 0; v < Vectors; ++v) to[v] += weight * load(at + v * Lanes);
      };
      if constexpr (kSets == 2) {
#pragma GCC unroll 1
        while (e->at < end) {
          add(*e++, sums[0]);
          if (e->at >= end) break;
          add(*e++, sums[1]);
        }
#pragma GCC unroll 14
        for (int v = 0; v < Vectors; ++v) sums[0][v] += sums[kSets - 1][v];
      } else {
#pragma GCC unroll 1
        for (; e->at < end; e += 2) {  // MEASURED on Zen 5: 3 to 5 % faster than one at a time
          add(e[0], sums[0]);
          if (e[1].at >= end) {
            ++e;
            break;
          }
          add(e[1], sums[0]);
        }
      }
      b.next[row] = static_cast<uint32_t>(e - b.entries);
#pragma GCC unroll 14
      for (int v = 0; v < Vectors; ++v) store(y + v * Lanes, sums[0][v]);
    }
  }

  static void multiply(const SparseBlock& block) {
    using Multiply = void (*)(const SparseBlock&);
    static constexpr Multiply kMultiply[kVectors] = {
        multiply_rows<1>,  multiply_rows<2>,  multiply_rows<3>,  multiply_rows<4>, multiply_rows<5>,
        multiply_rows<6>,  multiply_rows<7>,  multiply_rows<8>,  multiply_rows<9>, multiply_rows<10>,
        multiply_rows<11>, multiply_rows<12>, multiply_rows<13>, multiply_rows<14>};
    kMultiply[block.vectors - 1](block);
  }

  // f.operator()<Width>(first) for all of `count` numbers: whole registers, then what is left in halves of them.
  template <int Width, class F>
  static void in_registers(int32_t count, int32_t first, F&& f) {
    for (; count - first >= Width; first += Width) f.template operator()<Width>(first);
    if constexpr (Width > 1) in_registers<Width / 2>(count, first, f);
  }

  // What a packed register has of a row of pixels: lane 0 would lie at x + `x`; bit l of `lanes`: lane l does.
  struct Piece {
    int32_t x;
    uint32_t lanes;
    bool last;  // of its register
  };

  // A register of neighbouring pixels is put together from the rows that it holds ends of, and stored whole: stores
  // that straddle lines take as long as several.
  template <Vector (*Merge)(Vector, const float*, uint32_t)>
  static void pack_rows(const float* x, const int32_t* offsets, int64_t columns, const SparsePixels* pixels,
                        int64_t count, int64_t floats, float* to) {
    Piece pieces[kSparsePieces];
    int64_t found = 0;
    for (const SparsePixels* p = pixels; p != pixels + count; ++p)
      for (int32_t at = p->packed, end = at + p->count, stop; at < end; at = stop) {
        const int32_t lane = at % Lanes;
        stop = at - lane + Lanes < end ? at - lane + Lanes : end;
        const uint32_t lanes = (uint32_t{1} << (stop - at + lane)) - (uint32_t{1} << lane);
        if (found > 0 && lane == 0) pieces[found - 1].last = true;
        pieces[found++] = {p->x + at - p->packed - lane, lanes, false};
      }
    if (found > 0) pieces[found - 1].last = true;
    for (int64_t column = 0; column < columns; ++column, to += floats) {
      const float* const from = x + offsets[column];
      float* out = to;
      for (const Piece* piece = pieces; piece != pieces + found; out += Lanes) {
        Vector packed{};
        do packed = Merge(packed, from + piece->x, piece->lanes);
        while (!(piece++)->last);
        store(out, packed);
      }
      for (; out < to + floats; out += Lanes) store(out, Vector{});
    }
  }

  // Every second pixel of a row: the last register lies over the one before it.
  template <int Width>
  static void pack_even(const float* from, int32_t count, float* out) {
    if constexpr (Width >= 4) {
      if (count < Width) return pack_even<Width / 2>(from, count, out);
      for (int32_t first = 0; first + Width <= count; first += Width) store_even<Width>(from + 2 * first, out + first);
      store_even<Width>(from + 2 * (count - Width), out + count - Width);
    } else {
      for (int32_t i = 0; i < count; ++i) out[i] = from[2 * i];
    }
  }

  template <Vector (*Merge)(Vector, const float*, uint32_t)>
  static void pack(const float* x, const int32_t* offsets, int64_t columns, int64_t x_step, const SparsePixels* pixels,
                   int64_t count, int64_t floats, float* to) {
    if (x_step == 1) return pack_rows<Merge>(x, offsets, columns, pixels, count, floats, to);
    const int64_t packed = count == 0 ? 0 : pixels[count - 1].packed + pixels[count - 1].count;
    for (int64_t column = 0; column < columns; ++column, to += floats) {
      for (const SparsePixels* p = pixels; p != pixels + count; ++p) {
        const float* from = x + offsets[column] + p->x;
        float* const out = to + p->packed;
        if (x_step == 2) {
          pack_even<Lanes>(from, p->count, out);
          continue;
        }
        for (int32_t i = 0; i < p->count; ++i) out[i] = from[i * x_step];
      }
      for (int64_t i = packed; i < floats; ++i) to[i] = 0.0F;
    }
  }

  template <int Width>
  static void store_even(const float* from, float* out) {
    using R = Register<Width>;
    const typename R::Vector low = R::load(from), high = R::load(from + Width);
    typename R::Vector found;
    if constexpr (Width == 4) found = __builtin_shufflevector(low, high, 0, 2, 4, 6);
    if constexpr (Width == 8) found = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    if constexpr (Width == 16)
      found = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    __builtin_memcpy(out, &found, sizeof found);
  }

  static void finish(const float* sums, const SparseFinish& f, const SparsePixels* pixels, int64_t count, float* y) {
    for (const SparsePixels* p = pixels; p != pixels + count; ++p) {
      const float* const from = sums + p->packed;
      const float* const residual = f.residual == nullptr ? nullptr : f.residual + p->residual;
      float* const out = y + p->y;
      in_registers<Lanes>(p->count, 0, [&]<int Width>(int32_t at) __attribute__((always_inline)) {
        using R = Register<Width>;
        typename R::Vector value = R::load(from + at) * R::all(f.scale) + R::all(f.shift);
        if (residual != nullptr) value += R::load(residual + at);
        const typename R::Vector low = R::all(f.low), high = R::all(f.high);
        value = value < low ? low : value;  // NaN stays: it is neither less nor greater
        value = value > high ? high : value;
        __builtin_memcpy(out + at, &value, sizeof value);
      });
    }
  }

  // mask(weights): bit r says whether the word of row r is not zero bits.
  template <unsigned (*Mask)(const float*)>
  static void list(const float* weights, int64_t first_column, int64_t columns, SparsePlaces places,
                   SparseEntry* entries, uint32_t* next, const uint32_t* limit) {
    for (int64_t column = first_column; column < first_column + columns; ++column, weights += 16) {
      const uint32_t at = places.at == nullptr ? static_cast<uint32_t>(column) * places.step : places.at[column];
      for (unsigned mask = Mask(weights); mask != 0; mask &= mask - 1) {
        const int row = __builtin_ctz(mask);
        // SAFE BECAUSE: a list ends where its room does, whatever the payload is decoded to.
        if (next[row] < limit[row]) entries[next[row]++] = {weights[row], at};
      }
    }
  }

  // merge(v, at, lanes): v with the numbers at + l of lanes whose bit is set, which are zeros before; no others are
  // read.
  template <unsigned (*Mask)(const float*), decltype(SparseKernels::list_gaps) ListGaps,
            Vector (*Merge)(Vector, const float*, uint32_t)>
  static constexpr SparseKernels kKernels = {Lanes, kVectors, multiply, pack<Merge>, finish, list<Mask>, ListGaps};
};

}  // namespace
}  // namespace tersely
