// The methods that every coded matrix has in Python. M: view() with a geometry, word_bytes(), and decode_window,
// access, multiply, pick with the signatures used below, on components that have passed `validate` in Python.
#pragma once

#include <stdexcept>
#include <string>

#include "tersely/backends/cpu/base/dispatch.hpp"
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/backends/cpu/matrix/coded_matrix.hpp"

inline void require(bool fits, const char* what) {
  if (!fits) throw std::invalid_argument(what);
}

inline int64_t word_bytes_of(tersely::DType dtype) { return tersely::kFields[static_cast<int>(dtype)].word_bytes; }

// The dtype of a formulation that codes words of 16 and 32 bits.
inline tersely::DType wide_dtype(const std::string& name) {
  const tersely::DType dtype = dtype_of(name);
  require(word_bytes_of(dtype) > 1, "this formulation codes words of 16 and 32 bits");
  return dtype;
}

inline tersely::Geometry with_offsets(const OwnedGeometry& owned) {
  tersely::Geometry g = owned.geometry;
  g.column_offsets = owned.offsets.empty() ? nullptr : owned.offsets.data();
  return g;
}

// Base of the coded matrices: what their views point into, kept alive.
class BorrowedMatrix {
 protected:
  BorrowedMatrix(const OwnedGeometry& geometry, nb::dict components) : geometry_(geometry), components_(components) {}

  const uint8_t* borrow(const char* name) {
    keep_.push_back(nb::cast<Bytes>(components_[name]));
    return keep_.back().data();
  }
  const uint64_t* borrow_directory(const char* name = "directory") {
    const uint8_t* at = borrow(name);
    require(reinterpret_cast<uintptr_t>(at) % 8 == 0, "the directory is not aligned to 8 bytes");
    return reinterpret_cast<const uint64_t*>(at);
  }

  OwnedGeometry geometry_;
  nb::dict components_;
  std::vector<Bytes> keep_;
};

// Parts of most matrices have no kernels of their own: callers decode them.
template <class M>
nb::object no_part(const M&, int64_t, int64_t, int64_t) {
  return nb::none();
}

// What a worker writes to is checked here, once for all formulations.
template <class M>
void multiply(const M& matrix, Words x, const std::string& dtype, nb::object bias, MutableWords out, int threads,
              bool transposed) {
  const tersely::Geometry& g = matrix.geometry();
  tersely::Rows rows{};
  rows.dtype = dtype_of(dtype);
  const int64_t inner = transposed ? g.rows : g.columns, outer = transposed ? g.columns : g.rows;
  const int64_t bytes = tersely::kFields[static_cast<int>(rows.dtype)].word_bytes;
  require(bytes > 1 && x.ndim() == 2 && out.ndim() == 2 && g.count == 1,
          "a product needs a matrix, x and out of two dimensions");
  rows.batch = static_cast<int64_t>(x.shape(0));
  require(static_cast<int64_t>(x.nbytes()) == rows.batch * inner * bytes &&
              static_cast<int64_t>(out.nbytes()) == rows.batch * outer * bytes,
          "x or out has the wrong size");
  rows.x = x.data();
  rows.out = out.data();
  nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu> bias_array;
  if (!bias.is_none()) {
    bias_array = nb::cast<decltype(bias_array)>(bias);
    require(static_cast<int64_t>(bias_array.size()) == outer, "bias has the wrong size");
    rows.bias = bias_array.data();
  }
  if (rows.batch == 0 || outer == 0) return;
  const Computing unlocked;
  matrix.multiply(rows, threads, transposed);
}

// As `multiply`, on addresses: what a caller that has checked everything pays per call. x, out: [batch][...] words of
// dtype; bias: null or [outer] words of bias_dtype; dtypes are 0 float32, 1 bfloat16, 2 float16.
template <class M>
void multiply_at(const M& matrix, uintptr_t x, int dtype, int64_t batch, uintptr_t bias, int bias_dtype, uintptr_t out,
                 int threads, bool transposed) {
  const tersely::Geometry& g = matrix.geometry();
  const tersely::KernelTable& table = tersely::active_table();
  require(g.count == 1 && dtype >= 0 && dtype <= 2 && bias_dtype >= 0 && bias_dtype <= 2, "a product needs a matrix");
  const int64_t outer = transposed ? g.columns : g.rows;
  if (batch == 0 || outer == 0) return;
  tersely::Rows rows{};
  rows.dtype = static_cast<tersely::DType>(dtype);
  rows.batch = batch;
  rows.x = reinterpret_cast<const void*>(x);
  rows.out = reinterpret_cast<void*>(out);
  const Computing unlocked;
  static thread_local std::vector<float> widened;
  if (bias != 0 && bias_dtype != 0) {
    widened.resize(static_cast<size_t>(outer));
    table.widen_words(static_cast<tersely::DType>(bias_dtype), reinterpret_cast<const uint16_t*>(bias), outer,
                      widened.data());
    rows.bias = widened.data();
  } else {
    rows.bias = reinterpret_cast<const float*>(bias);
  }
  matrix.multiply(rows, threads, transposed);
}

// Rows of the matrix by number (int64), in any order, into out [count][columns]. Returns as `pick_rows`.
template <class M>
int64_t pick_at(const M& matrix, uintptr_t indices, int64_t count, uintptr_t out, int threads) {
  const tersely::Geometry& g = matrix.geometry();
  require(g.count == 1 && g.column_stride == 1 && g.column_offsets == nullptr && g.row_stride == g.columns &&
              g.elements == g.rows * g.columns,
          "rows are picked from a matrix that is stored by rows");
  const Computing unlocked;
  return matrix.pick(reinterpret_cast<const int64_t*>(indices), count, reinterpret_cast<uint8_t*>(out), threads);
}

template <class M, class... Bases>
void bind_reading(nb::class_<M, Bases...>& type) {
  type.def("pick_at", &pick_at<M>);
  type.def("decode_at", [](const M& self, uintptr_t out, int threads) {
    const tersely::Geometry& g = self.geometry();
    const Computing unlocked;
    self.decode_window(0, g.panels, 0, g.elements, reinterpret_cast<uint8_t*>(out), threads);
  });
  type.def("decode",
           [](const M& self, MutableWords out, int threads) {
             const tersely::Geometry& g = self.geometry();
             require(static_cast<int64_t>(out.nbytes()) == g.elements * self.word_bytes(), "out has the wrong size");
             const Computing unlocked;
             self.decode_window(0, g.panels, 0, g.elements, static_cast<uint8_t*>(out.data()), threads);
           })
      .def("decode_window",
           [](const M& self, MutableWords out, int64_t first_panel, int64_t last_panel, int64_t first_element,
              int threads) {
             const tersely::Geometry& g = self.geometry();
             const int64_t elements = static_cast<int64_t>(out.nbytes()) / self.word_bytes();
             require(first_panel >= 0 && last_panel <= g.panels && first_element >= 0 &&
                         first_element + elements <= g.elements,
                     "window out of range");
             const Computing unlocked;
             self.decode_window(first_panel, last_panel, first_element, elements, static_cast<uint8_t*>(out.data()),
                                threads);
           })
      .def("access", [](const M& self, int64_t matrix, int64_t row, int64_t column) {
        const tersely::Geometry& g = self.geometry();
        require(matrix >= 0 && matrix < g.count && row >= 0 && row < g.rows && column >= 0 && column < g.columns,
                "index out of range");
        const tersely::DefaultFloats floats;
        return self.access(matrix, row, column);
      });
}

template <class M, class... Bases>
void bind_matrix(nb::class_<M, Bases...>& type) {
  bind_reading(type);
  type.def("multiply_at", &multiply_at<M>)
      .def(
          "linear",
          [](const M& self, Words x, const std::string& dtype, nb::object bias, MutableWords out, int threads) {
            multiply(self, x, dtype, bias, out, threads, false);
          },
          nb::arg("x"), nb::arg("dtype"), nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"))
      .def(
          "linear_transposed",
          [](const M& self, Words x, const std::string& dtype, nb::object bias, MutableWords out, int threads) {
            multiply(self, x, dtype, bias, out, threads, true);
          },
          nb::arg("x"), nb::arg("dtype"), nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"));
}
