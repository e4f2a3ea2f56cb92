// Words of a dtype and the floats that they read as. Internal to the including file, as floats.hpp.
#pragma once

#include <bit>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"

namespace tersely {
namespace {

[[maybe_unused]] float value_of(DType dtype, uint32_t word) {
  if (dtype == DType::kFloat32) return std::bit_cast<float>(word);
  return dtype == DType::kBfloat16 ? std::bit_cast<float>(word << 16) : float16_to_float(static_cast<uint16_t>(word));
}
[[maybe_unused]] uint32_t word_of(DType dtype, float value) {
  if (dtype == DType::kFloat32) return std::bit_cast<uint32_t>(value);
  return dtype == DType::kBfloat16 ? float_to_bfloat16(value) : float_to_float16(value);
}

}  // namespace
}  // namespace tersely
