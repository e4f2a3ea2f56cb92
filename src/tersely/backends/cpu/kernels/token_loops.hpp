// Layer norm and softmax in registers of `Lanes` floats; included by one file of each instruction set, and internal to
// it.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "tersely/backends/cpu/kernels/tokens.hpp"
#include "tersely/backends/cpu/kernels/vector_math.hpp"

namespace tersely {
namespace {

template <int Lanes>
struct Tokens {
  using Math = VectorMath<Lanes>;
  using Vector = typename Math::Vector;
  static constexpr int kParts = 16 / Lanes;
  static constexpr float kNone = -std::numeric_limits<float>::infinity();

  // Lanes before `count` of a block's part as they are, the others `otherwise`.
  static Vector first_lanes(Vector v, int64_t count, float otherwise) {
    typename Math::Integers lane;
    for (int i = 0; i < Lanes; ++i) lane[i] = i;
    return lane < static_cast<int32_t>(count) ? v : Math::all(otherwise);
  }

  // f(plane, part, how many of its lanes are channels) for all parts of a token.
  template <class F>
  static inline __attribute__((always_inline)) void each_part(int64_t channels, F&& f) {
    const int64_t whole = channels / 16;
    for (int64_t plane = 0; plane < whole; ++plane)
      for (int k = 0; k < kParts; ++k) f(plane, k, int64_t{Lanes});
    for (int k = 0; k < kParts && whole * 16 + k * Lanes < channels; ++k)
      f(whole, k, std::min<int64_t>(Lanes, channels - whole * 16 - k * Lanes));
  }

  // A few tokens at a time: a plane's numbers of four tokens are four lines of cache side by side.
  template <int Count>
  static void norm_some(const TokenNorm& n, int64_t token) {
    const float* const x = n.x + token * 16;
    float* const y = n.y + token * 16;
    const auto size = static_cast<float>(n.channels);
    Vector sums[Count]{};
    each_part(n.channels, [&](int64_t plane, int k, int64_t lanes) {
      for (int t = 0; t < Count; ++t) {
        const Vector value = Math::load(x + plane * n.x_plane + t * 16 + k * Lanes);
        sums[t] += lanes == Lanes ? value : first_lanes(value, lanes, 0.0F);
      }
    });
    float mean[Count], factor[Count];
    Vector squares[Count]{};
    for (int t = 0; t < Count; ++t) mean[t] = Math::sum(sums[t]) / size;
    each_part(n.channels, [&](int64_t plane, int k, int64_t lanes) {
      for (int t = 0; t < Count; ++t) {
        const Vector value = Math::load(x + plane * n.x_plane + t * 16 + k * Lanes) - mean[t];
        const Vector square = value * value;
        squares[t] += lanes == Lanes ? square : first_lanes(square, lanes, 0.0F);
      }
    });
    for (int t = 0; t < Count; ++t) factor[t] = 1.0F / std::sqrt(Math::sum(squares[t]) / size + n.eps);
    each_part(n.channels, [&](int64_t plane, int k, int64_t) {
      const int64_t channel = plane * 16 + k * Lanes;
      const Vector weight = n.weight == nullptr ? Math::all(1.0F) : Math::load(n.weight + channel);
      const Vector bias = n.bias == nullptr ? Math::all(0.0F) : Math::load(n.bias + channel);
      for (int t = 0; t < Count; ++t) {
        const int64_t at = t * 16 + k * Lanes;
        const Vector value = (Math::load(x + plane * n.x_plane + at) - mean[t]) * factor[t];
        Math::store(y + plane * n.y_plane + at, value * weight + bias);
      }
    });
  }

  static void norm(const TokenNorm& n, int64_t tokens) {
    int64_t token = 0;
    for (; token + 4 <= tokens; token += 4) norm_some<4>(n, token);
    for (; token < tokens; ++token) norm_some<1>(n, token);
  }

  // What a mask adds, or whether it lets pass.
  static Vector masked(Vector score, const ScoreRows& r, const float* mask, int64_t lanes) {
    float some[Lanes]{};
    const Vector value = lanes == Lanes
                             ? Math::load(mask)
                             : (__builtin_memcpy(some, mask, static_cast<size_t>(lanes) * 4), Math::load(some));
    if (!r.boolean) return score + value;
    return value != 0.0F ? score : Math::all(kNone);
  }

  static void attend(const ScoreRows& r, int64_t queries) {
    for (int64_t query = 0; query < queries; ++query) {
      float* const scores = r.scores + query * 16;
      const float* const mask = r.mask == nullptr ? nullptr : r.mask + query * r.mask_query;
      const int64_t last = r.last_key + query;
      Vector most = Math::all(kNone);
      each_part(r.keys, [&](int64_t plane, int k, int64_t lanes) {
        const int64_t key = plane * 16 + k * Lanes;
        float* const at = scores + plane * r.plane + k * Lanes;
        Vector score = Math::load(at) * r.scale;
        if (mask != nullptr) score = masked(score, r, mask + key, lanes);
        const int64_t seen = std::min(lanes, std::max<int64_t>(last + 1 - key, 0));
        if (seen < Lanes) score = first_lanes(score, seen, kNone);
        most = score > most ? score : most;
        Math::store(at, score);
      });
      const float found = Math::greatest(most), greatest = found == kNone ? 0.0F : found;
      Vector sums{};
      each_part(r.keys, [&](int64_t plane, int k, int64_t) {
        float* const at = scores + plane * r.plane + k * Lanes;
        const Vector value = Math::exp(Math::load(at) - greatest);
        sums += value;
        Math::store(at, value);
      });
      const float sum = Math::sum(sums), factor = sum == 0.0F ? 0.0F : 1.0F / sum;
      each_part(r.keys, [&](int64_t plane, int k, int64_t) {
        float* const at = scores + plane * r.plane + k * Lanes;
        Math::store(at, Math::load(at) * factor);
      });
    }
  }

  // f(first, how many) for registers of `count` numbers; the last one may be shorter.
  static Vector load_some(const float* at, int64_t lanes, float otherwise) {
    if (lanes == Lanes) return Math::load(at);
    float some[Lanes];
    for (int i = 0; i < Lanes; ++i) some[i] = i < lanes ? at[i] : otherwise;
    return Math::load(some);
  }
  static void store_some(float* at, Vector v, int64_t lanes) {
    __builtin_memcpy(at, &v, static_cast<size_t>(lanes) * 4);
  }

  static void softmax(const float* x, int64_t count, float* y) {
    const auto lanes = [&](int64_t i) { return std::min<int64_t>(Lanes, count - i); };
    Vector most = Math::all(kNone), sums{};
    for (int64_t i = 0; i < count; i += Lanes) {
      const Vector value = load_some(x + i, lanes(i), kNone);
      most = value > most ? value : most;
    }
    const float greatest = Math::greatest(most);
    for (int64_t i = 0; i < count; i += Lanes) {
      const Vector value = Math::exp(load_some(x + i, lanes(i), kNone) - greatest);
      sums += lanes(i) == Lanes ? value : first_lanes(value, lanes(i), 0.0F);
      store_some(y + i, value, lanes(i));
    }
    const float factor = 1.0F / Math::sum(sums);
    for (int64_t i = 0; i < count; i += Lanes) store_some(y + i, load_some(y + i, lanes(i), 0.0F) * factor, lanes(i));
  }

  static constexpr TokenKernels kKernels{norm, attend, softmax};
};

}  // namespace
}  // namespace tersely
