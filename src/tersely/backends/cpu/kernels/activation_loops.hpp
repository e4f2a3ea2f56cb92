// Activations in registers of `Lanes` floats; included by one file of each instruction set, and internal to it.
#pragma once

#include <cmath>
#include <utility>

#include "tersely/backends/cpu/kernels/activations.hpp"
#include "tersely/backends/cpu/kernels/vector_math.hpp"

namespace tersely {
namespace {

template <int Lanes>
struct Activations {
  using Math = VectorMath<Lanes>;
  using Vector = typename Math::Vector;

  static Vector clipped(Vector x, float high) {
    x = x < 0.0F ? Math::all(0.0F) : x;
    return x > high ? Math::all(high) : x;
  }

  template <Unary Kind>
  static Vector of(Vector x) {
    if constexpr (Kind == Unary::kRelu) return x < 0.0F ? Math::all(0.0F) : x;
    if constexpr (Kind == Unary::kRelu6) return clipped(x, 6.0F);
    if constexpr (Kind == Unary::kSigmoid) return 1.0F / (1.0F + Math::exp(-x));
    if constexpr (Kind == Unary::kSilu) return x / (1.0F + Math::exp(-x));
    if constexpr (Kind == Unary::kTanh) return Math::tanh(x);
    if constexpr (Kind == Unary::kHardSigmoid) return clipped(x + 3.0F, 6.0F) / 6.0F;
    if constexpr (Kind == Unary::kHardSwish) return x * (clipped(x + 3.0F, 6.0F) / 6.0F);
    if constexpr (Kind == Unary::kGelu) return Math::gelu(x);
    if constexpr (Kind == Unary::kGeluTanh)
      return 0.5F * x * (1.0F + Math::tanh(0.7978845608028654F * (x + 0.044715F * x * x * x)));
    if constexpr (Kind == Unary::kExp) return Math::exp(x);
    if constexpr (Kind == Unary::kErf) return Math::erf(x);
    if constexpr (Kind == Unary::kSqrt) {
      for (int i = 0; i < Lanes; ++i) x[i] = std::sqrt(x[i]);
      return x;
    }
    if constexpr (Kind == Unary::kNegative) return -x;
  }

  template <Unary Kind>
  static void run(const float* x, int64_t count, float* y) {
    int64_t i = 0;
    for (; i + Lanes <= count; i += Lanes) Math::store(y + i, of<Kind>(Math::load(x + i)));
    if (i == count) return;
    // The same kernel for the rest, so a number's result does not depend on where it lies.
    float rest[Lanes]{};
    const auto bytes = static_cast<size_t>(count - i) * 4;
    __builtin_memcpy(rest, x + i, bytes);
    Math::store(rest, of<Kind>(Math::load(rest)));
    __builtin_memcpy(y + i, rest, bytes);
  }

  template <int... Kinds>
  static void fill(UnaryKernel* to, std::integer_sequence<int, Kinds...>) {
    ((to[Kinds] = run<static_cast<Unary>(Kinds)>), ...);
  }
  static void fill(UnaryKernel* to) { fill(to, std::make_integer_sequence<int, kUnaryCount>{}); }
};

}  // namespace
}  // namespace tersely
