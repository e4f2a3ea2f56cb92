// What steps on images finish with.
#pragma once

#include "tersely/backends/cpu/kernels/pixels.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {

struct Activated {
  PixelBounds bounds;
  PixelActivation activation;
};

// The member "activation": relu and relu6 are bounds, others follow them. Throws std::invalid_argument for unknown
// ones.
Activated activated_of(const StepText& text);

// The bounds of a step that ends with them. Throws std::invalid_argument for other activations.
PixelBounds bounds_of(const StepText& text);

}  // namespace tersely
