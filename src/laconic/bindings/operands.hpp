// What products of 8-bit weights take beside the weights, borrowed and checked.
#pragma once

#include <string>

#include "laconic/bindings/matrix.hpp"
#include "laconic/formulations/integer/integer.hpp"

using Doubles = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Whole = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Everything of a product but the weights, checked against their shape.
struct Operands {
  laconic::IntegerRows rows{};
  Whole whole_bias;
  nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu> float_bias;

  Operands(int64_t outer, int64_t inner, const Words& x, const std::string& dtype, const Doubles& scale,
           const Whole& zero, const nb::object& bias, MutableWords& out) {
    rows.whole = dtype == "int8";
    if (!rows.whole) rows.dtype = dtype_of(dtype);
    const int64_t bytes = rows.whole ? 1 : laconic::kFields[static_cast<int>(rows.dtype)].word_bytes;
    require(x.ndim() == 2 && out.ndim() == 2 && (rows.whole || bytes > 1),
            "a product needs x and out of two dimensions");
    rows.batch = static_cast<int64_t>(x.shape(0));
    require(static_cast<int64_t>(x.nbytes()) == rows.batch * inner * bytes &&
                static_cast<int64_t>(out.nbytes()) == rows.batch * outer * (rows.whole ? 4 : bytes),
            "x or out has the wrong size");
    auto step = [outer](size_t size) {
      require(size == 1 || static_cast<int64_t>(size) == outer, "a scale or zero point has the wrong size");
      return static_cast<int64_t>(size) == outer ? int64_t{1} : int64_t{0};
    };
    rows.scale_step = step(scale.size());
    rows.zero_step = step(zero.size());
    rows.x = x.data();
    rows.out = out.data();
    rows.scale = scale.data();
    rows.zero = zero.data();
    if (bias.is_none()) return;
    if (rows.whole) {
      whole_bias = nb::cast<Whole>(bias);
      rows.bias = whole_bias.data();
    } else {
      float_bias = nb::cast<decltype(float_bias)>(bias);
      rows.bias = float_bias.data();
    }
    require(static_cast<int64_t>(rows.whole ? whole_bias.size() : float_bias.size()) == outer,
            "bias has the wrong size");
  }
};
