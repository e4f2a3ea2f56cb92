// What steps of bytes read of their members.
#pragma once

#include "tersely/backends/cpu/kernels/quantised.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {

// A number from 0 to 255.
inline int32_t byte_of(const StepText& text, const char* member) {
  const int64_t number = text.number(member);
  if (number < 0 || number > 255) throw std::invalid_argument(std::string(member) + " is no byte");
  return static_cast<int32_t>(number);
}

// Members "zero", "low" and "high": bytes, as they are kept.
inline Requantisation requantisation_of(const StepText& text, const float* scale) {
  const int32_t zero = byte_of(text, "zero"), low = byte_of(text, "low"), high = byte_of(text, "high");
  fits(low <= high, "nothing lies between low and high");
  return {scale, static_cast<float>(low - zero), static_cast<float>(high - zero), zero};
}

}  // namespace tersely
