// What the files of the binding share: array types we accept, and how shapes and sizes cross from Python.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/codes/opening.hpp"

namespace nb = nanobind;

using MutableBytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
// Any C-contiguous array of words; the callee checks its size in bytes.
using Words = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using MutableWords = nb::ndarray<nb::c_contig, nb::device::cpu>;
using Starts = nb::ndarray<const uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// While the kernels work: the interpreter lock is free, and the thread's floating-point environment the default one.
class Computing {
  nb::gil_scoped_release unlocked_;
  tersely::DefaultFloats floats_;
};

inline void require_size(bool fits) { tersely::require(fits, "an array has the wrong size"); }

template <class Array>
const uint8_t* bytes_of(const Array& array) {
  return static_cast<const uint8_t*>(array.data());
}
template <class T, class Array>
T* as(const Array& array) {
  return static_cast<T*>(array.data());
}

// A tensor's words, as many as its shape has.
inline const uint8_t* words_of(const Words& words, const tersely::Geometry& g, tersely::DType dtype) {
  tersely::require(static_cast<int64_t>(words.nbytes()) == g.elements * tersely::word_bytes_of(dtype),
                   "words have the wrong size");
  return bytes_of(words);
}

// A component that an encoder fills, of at least `used` bytes.
inline uint8_t* component(const nb::dict& components, const std::string& name, int64_t used) {
  const auto array = nb::cast<MutableBytes>(components[name.c_str()]);
  require_size(static_cast<int64_t>(array.size()) >= used);
  return array.data();
}

inline void require_same(bool same) {
  if (!same) throw std::runtime_error("the words changed while they were encoded");
}

void bind_base(nb::module_& m);
void bind_matrix(nb::module_& m);
void bind_network(nb::module_& m);
void bind_products(nb::module_& m);
void bind_split(nb::module_& m);
void bind_sparse(nb::module_& m);
void bind_palette(nb::module_& m);
void bind_affine(nb::module_& m);
void bind_integer(nb::module_& m);
void bind_blocks(nb::module_& m);
void bind_ans(nb::module_& m);
void bind_bench(nb::module_& m);
void bind_storage(nb::module_& m);
