// The class that coded matrices are in Python, for the parts of the binding that take one.
#pragma once

#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <vector>

#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/backends/cpu/matrix/coded_matrix.hpp"

using ComponentArray = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A coded matrix and what it borrows: arrays, or the matrix that it is a part of.
struct Matrix {
  std::vector<ComponentArray> arrays;
  nb::object whole;
  std::unique_ptr<const tersely::CodedMatrix> coded;

  const tersely::CodedMatrix* operator->() const { return coded.get(); }
};
