// The weights that a step names, as a convolution takes them.
#pragma once

#include <concepts>
#include <memory>

#include "tersely/backends/cpu/matrix/description.hpp"
#include "tersely/backends/cpu/network/step.hpp"
#include "tersely/backends/cpu/network/weights.hpp"

namespace tersely {

// The weights of a convolution: panels of a coded matrix, or of numbers [outputs][channels of a group][taps].
// together: channels of a pixel that lie side by side.
inline std::unique_ptr<const ConvolutionWeights> weights_of(const Constant& weight, const Groups& groups, int64_t taps,
                                                            int64_t together) {
  const int64_t columns = checked_product(groups.channels, taps);
  const int64_t numbers = checked_product(checked_product(groups.count, groups.outputs), columns);
  if (weight.coded != nullptr) {
    fits(ConvolutionWeights::walks(weight.coded->words(), groups, taps),
         "the weight is no matrix of words with a row for each output and a column for each channel and tap");
    return std::make_unique<ConvolutionWeights>(*weight.coded->words(), groups, taps);
  }
  fits(weight.numbers != nullptr && weight.count >= numbers,
       "the weight has too few numbers for its channels and taps");
  return std::make_unique<ConvolutionWeights>(weight.numbers, groups, taps, together);
}
// A count of channels, no truth.
template <std::same_as<bool> Truth>
std::unique_ptr<const ConvolutionWeights> weights_of(const Constant&, const Groups&, int64_t, Truth) = delete;

}  // namespace tersely
