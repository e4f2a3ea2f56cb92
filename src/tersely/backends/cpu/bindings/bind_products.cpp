// Products of integers that lie as they are: no coded matrix.
#include "tersely/backends/cpu/bindings/integer_operands.hpp"
#include "tersely/codes/words/integer/fields.hpp"

namespace {

// Of 8-bit weights.
bool dense_linear(Words words, const std::string& dtype, int64_t matrix_rows, int64_t columns, Words x,
                  const std::string& x_dtype, Doubles scale, Int32s zero, nb::object bias, MutableWords out,
                  int threads) {
  require_size(static_cast<int64_t>(words.nbytes()) == matrix_rows * columns);
  const bool is_signed = tersely::flip_of(dtype) != 0;
  const IntegerOperands operands(matrix_rows, columns, x, x_dtype, scale, zero, bias, out);
  const Computing unlocked;
  return tersely::dense_integer_linear(bytes_of(words), is_signed, matrix_rows, columns, tersely::active_table(),
                                       operands.rows, threads);
}

// Of 4-bit weights, two a byte.
bool pair_linear(Words pairs, bool is_signed, int64_t matrix_rows, int64_t columns, Words x, const std::string& dtype,
                 Doubles scale, Int32s zero, nb::object bias, MutableWords out, int threads, int64_t groups) {
  require_size(columns % 2 == 0 && static_cast<int64_t>(pairs.nbytes()) == matrix_rows * (columns / 2));
  const IntegerOperands operands(matrix_rows, columns, x, dtype, scale, zero, bias, out, groups);
  const Computing unlocked;
  return tersely::pair_integer_linear(bytes_of(pairs), is_signed, matrix_rows, columns, tersely::active_table(),
                                      operands.rows, threads);
}

}  // namespace

void bind_products(nb::module_& m) {
  m.def("dense_integer_linear", &dense_linear, nb::arg("words"), nb::arg("dtype"), nb::arg("rows"), nb::arg("columns"),
        nb::arg("x"), nb::arg("x_dtype"), nb::arg("scale"), nb::arg("zero"), nb::arg("bias").none(), nb::arg("out"),
        nb::arg("threads"));
  m.def("pair_integer_linear", &pair_linear, nb::arg("pairs"), nb::arg("is_signed"), nb::arg("rows"),
        nb::arg("columns"), nb::arg("x"), nb::arg("dtype"), nb::arg("scale"), nb::arg("zero"), nb::arg("bias").none(),
        nb::arg("out"), nb::arg("threads"), nb::arg("groups") = 1);
}
