// Opening a coded tensor: the way in for every program, Python's bindings among them.
#pragma once

#include <memory>

#include "tersely/backends/cpu/matrix/coded_matrix.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"

namespace tersely {

// The matrix that a description and its components are; borrows the components, which must outlive it, and nothing of
// the description. Damage that would let kernels read beyond a component is refused with std::invalid_argument and the
// component's name; for everything else that a file may claim, its `validate` in Python is the judge. Throws
// std::bad_alloc for shapes that no memory holds. Dense tensors are no coded matrices.
std::unique_ptr<CodedMatrix> open(const Description& description, const Components& components);

}  // namespace tersely
