// What products of whole numbers take beside the weights, borrowed and checked.
#pragma once

#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/backends/cpu/matrix/integer_rows.hpp"

using Doubles = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Whole = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Everything of a product but the weights, checked against their shape.
struct IntegerOperands {
  tersely::IntegerRows rows{};
  Whole whole_bias;
  nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu> float_bias;

  IntegerOperands(int64_t outer, int64_t inner, const Words& x, const std::string& dtype, const Doubles& scale,
                  const Whole& zero, const nb::object& bias, MutableWords& out, int64_t groups = 1) {
    using tersely::require;
    rows.whole = dtype == "int8";
    if (!rows.whole) rows.dtype = tersely::dtype_of(dtype);
    const int64_t bytes = rows.whole ? 1 : tersely::word_bytes_of(rows.dtype);
    require(x.ndim() == 2 && out.ndim() == 2 && (rows.whole || bytes > 1),
            "a product needs x and out of two dimensions");
    rows.batch = static_cast<int64_t>(x.shape(0));
    require(static_cast<int64_t>(x.nbytes()) == rows.batch * inner * bytes &&
                static_cast<int64_t>(out.nbytes()) == rows.batch * outer * (rows.whole ? 4 : bytes),
            "x or out has the wrong size");
    require(groups >= 1 && (groups == 1 || (!rows.whole && inner % groups == 0)), "groups do not fit the product");
    rows.groups = groups;
    auto steps = [outer, groups](size_t size, int64_t& row, int64_t& group) {
      const auto count = static_cast<int64_t>(size);
      require(count == 1 || count == outer || count == outer * groups, "a scale or zero point has the wrong size");
      group = count > 1 && groups > 1 && count == outer * groups ? 1 : 0;
      row = count == 1 ? 0 : group == 1 ? groups : 1;
    };
    steps(scale.size(), rows.scale_step, rows.scale_group);
    steps(zero.size(), rows.zero_step, rows.zero_group);
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
