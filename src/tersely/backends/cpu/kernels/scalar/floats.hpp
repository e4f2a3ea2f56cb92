// Conversions between float32 and the narrow floats, exact where the target is wider, to nearest even where it is not.
// Everything is internal to the including file: no inline function of ours may be shared between instruction sets.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tersely/backends/cpu/kernels/layout.hpp"

namespace tersely {
namespace {

[[maybe_unused]] float float16_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 31, mantissa = half & 0x3FF;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000 | mantissa << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

[[maybe_unused]] float float8_e4m3_to_float(uint8_t byte) {
  const uint32_t sign = static_cast<uint32_t>(byte & 0x80) << 24;
  const uint32_t exponent = byte >> 3 & 15, mantissa = byte & 7;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7FC00000);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 120) << 23 | mantissa << 20);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
  return sign ? -magnitude : magnitude;
}

// A word of 16 or 32 bits as a float.
template <DType D>
float weight_at(const uint8_t* at) {
  uint32_t word = 0;
  std::memcpy(&word, at, kFields[static_cast<int>(D)].word_bytes);
  if constexpr (D == DType::kFloat32) return std::bit_cast<float>(word);
  if constexpr (D == DType::kBfloat16) return std::bit_cast<float>(word << 16);
  return float16_to_float(static_cast<uint16_t>(word));
}

// Without branches, so that loops over it become vectors. NaN stays NaN, quiet.
[[maybe_unused]] inline uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7FFF + (bits >> 16 & 1);
  return static_cast<uint16_t>(((bits & 0x7FFFFFFF) > 0x7F800000 ? bits | 0x400000 : rounded) >> 16);
}

[[maybe_unused]] uint16_t float_to_float16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7E00 | static_cast<uint16_t>(magnitude >> 13 & 0x3FF);
  if (magnitude >= 0x47800000) return sign | 0x7C00;  // 65536 and more; 65520..65535 round up to it below
  if (magnitude >= 0x38800000) {
    const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    return static_cast<uint16_t>(sign | (rounded - 0x38000000) >> 13);
  }
  // Subnormal: adding 0.5 makes the FPU round at 2^-24, the unit of float16 subnormals.
  const float scaled = std::bit_cast<float>(magnitude) + 0.5f;
  return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(scaled) - 0x3F000000));
}

}  // namespace
}  // namespace tersely
