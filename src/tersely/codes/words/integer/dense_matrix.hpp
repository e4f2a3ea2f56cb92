// Integers as they are, as the matrix that another formulation leaves over. FORMAT: docs/FORMAT.md, "Submatrix".
#pragma once

#include "tersely/codes/opening.hpp"

namespace tersely {

// A matrix that is stored by rows, of integers of 8 or 16 bits, in the component `bytes`.
std::unique_ptr<CodedMatrix> open_dense_integers(const Opening& opening);

}  // namespace tersely
