// exp, erf and tanh of registers of `Lanes` floats; included by one file of each instruction set, and internal to it.
//
// Largest errors against the exact value that trying one float in 1531 found, in units of the last place: exp 0.9 with
// an FMA and 1.2 without (where the compiler makes two operations of a x b + c), erf 1.1, tanh 2.4. NaN stays NaN, the
// sign of zero too; exp of what is too large is an infinity, of what is too small a subnormal number or zero. The
// polynomials are those of N. Juffa's functions for single precision.
#pragma once

#include <cstdint>

namespace tersely {
namespace {

template <int Lanes>
struct VectorMath {
  typedef float Vector __attribute__((vector_size(Lanes * 4)));
  typedef int32_t Integers __attribute__((vector_size(Lanes * 4)));
  typedef uint32_t Bits __attribute__((vector_size(Lanes * 4)));

  static Vector load(const float* at) {
    Vector v;
    __builtin_memcpy(&v, at, sizeof v);
    return v;
  }
  static void store(float* at, Vector v) { __builtin_memcpy(at, &v, sizeof v); }
  static Vector all(float value) { return value - Vector{}; }
  static Vector abs(Vector x) { return reinterpret_cast<Vector>(reinterpret_cast<Bits>(x) & 0x7fffffffU); }
  static Vector with_sign(Vector x, Vector sign) {
    return reinterpret_cast<Vector>((reinterpret_cast<Bits>(x) & 0x7fffffffU) |
                                    (reinterpret_cast<Bits>(sign) & 0x80000000U));
  }

  static Vector exp(Vector x) {
    x = x > 89.0F ? all(89.0F) : x;
    x = x < -104.0F ? all(-104.0F) : x;
    const Vector magic = all(12582912.0F);  // 1.5 x 2^23: a sum with it has no fraction
    const Vector shifted = x * 1.44269502F + magic;
    const Integers power = reinterpret_cast<Integers>(shifted) - reinterpret_cast<Integers>(magic);
    const Vector whole = shifted - magic;
    Vector f = x - whole * 6.93145752e-1F;
    f = f - whole * 1.42860677e-6F;
    Vector r = f * 1.37805939e-3F + 8.37312452e-3F;
    r = r * f + 4.16695364e-2F;
    r = r * f + 1.66664720e-1F;
    r = r * f + 4.99999851e-1F;
    r = r * f + 1.0F;
    r = r * f + 1.0F;
    // In two steps: 2^128 and 2^-150 are no floats.
    const Integers half = power >> 1;
    return r * power_of_two(half) * power_of_two(power - half);
  }

  static Vector erf(Vector x) {
    const Vector t = abs(x), s = x * x;
    Vector far = t * -1.72853470e-5F + 3.83197126e-4F;
    far = far * s + (t * -3.88396438e-3F + 2.42546219e-2F);
    far = far * t + -1.06777877e-1F;
    far = far * t + -6.34846687e-1F;
    far = far * t + -1.28717512e-1F;
    far = far * t - t;
    far = with_sign(1.0F - exp(far), x);
    Vector near = s * -5.96761703e-4F + 4.99119423e-3F;
    near = near * s + -2.67681349e-2F;
    near = near * s + 1.12819925e-1F;
    near = near * s + -3.76125336e-1F;
    near = near * s + 1.28379166e-1F;
    near = near * x + x;
    return t > 0.927734375F ? far : near;
  }

  // x times the normal distribution's share below x. By one fraction of polynomials, for with erf two of its three ways
  // are computed in vain: half of the time. Largest error found: 2.9 x 2^-24 x |x| with an FMA, 3.8 without; erf's
  // way 1.8.
  static Vector gelu(Vector x) {
    constexpr float kEnd = 5.55F;  // the share differs from 0 and 1 by less than 2^-25 beyond
    Vector t = x > kEnd ? all(kEnd) : x;
    t = t < -kEnd ? all(-kEnd) : t;
    const Vector s = t * t;
    Vector above = s * 2.24427676e-8F + 6.35273454e-6F;
    Vector below = s * 1.18861726e-6F + 7.4348849e-5F;
    above = above * s + 1.7127418e-4F;
    below = below * s + 1.89833459e-3F;
    above = above * s + 4.6918178e-3F;
    below = below * s + 2.87896916e-2F;
    above = above * s + 3.41091752e-2F;
    below = below * s + 2.52164841e-1F;
    above = above * s + 3.98942232e-1F;
    below = below * s + 1.0F;
    const Vector share = abs(x) > kEnd ? with_sign(all(0.5F), x) : t * above / below;  // less a half
    return x * share + x * 0.5F;
  }

  static Vector tanh(Vector x) {
    const Vector t = abs(x), s = x * x;
    const Vector far = with_sign(1.0F - 2.0F / (exp(t + t) + 1.0F), x);
    Vector near = s * 1.57394409e-2F + -5.23025580e-2F;
    near = near * s + 1.33152977e-1F;
    near = near * s + -3.33327681e-1F;
    near = with_sign(near * s * x + x, x);
    return t > 0.6F ? far : near;
  }

  static float sum(Vector v) {
    float lanes[Lanes];
    store(lanes, v);
    for (int width = Lanes / 2; width != 0; width /= 2)
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    return lanes[0];
  }
  // Of numbers; NaN takes no part.
  static float greatest(Vector v) {
    float lanes[Lanes];
    store(lanes, v);
    for (int width = Lanes / 2; width != 0; width /= 2)
      for (int i = 0; i < width; ++i) lanes[i] = lanes[i + width] > lanes[i] ? lanes[i + width] : lanes[i];
    return lanes[0];
  }

 private:
  static Vector power_of_two(Integers n) { return reinterpret_cast<Vector>(reinterpret_cast<Bits>(n + 127) << 23); }
};

}  // namespace
}  // namespace tersely
