// What the files of the binding share: array types we accept, and how parameters cross from Python.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <vector>

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/matrix/view.hpp"

namespace nb = nanobind;

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutableBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
// Any C-contiguous array of words; the callee checks its size in bytes.
using Words = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using MutableWords = nb::ndarray<nb::c_contig, nb::device::cpu>;

// Geometry together with the array that its column offsets live in.
struct OwnedGeometry {
  tersely::Geometry geometry;
  std::vector<int64_t> offsets;
};

// While the kernels work: the interpreter lock is free, and the thread's floating-point environment the default one.
class Computing {
  nb::gil_scoped_release unlocked_;
  tersely::DefaultFloats floats_;
};

tersely::DType dtype_of(const std::string& name);

void bind_base(nb::module_& m);
void bind_split(nb::module_& m);
void bind_sparse(nb::module_& m);
void bind_palette(nb::module_& m);
void bind_grid(nb::module_& m);
void bind_affine(nb::module_& m);
void bind_row_palette(nb::module_& m);
void bind_integer(nb::module_& m);
void bind_blocks(nb::module_& m);
void bind_submatrix(nb::module_& m);
void bind_bench(nb::module_& m);
