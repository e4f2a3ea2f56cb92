// The Python module tersely.backends.cpu._native: names the parts, nothing else.
#include "tersely/backends/cpu/bindings/parts.hpp"

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // weights that live to the end of the process are no leak
  m.doc() = "Native operators of tersely; use the tersely package, not this module.";
  bind_base(m);
  bind_matrix(m);
  bind_network(m);
  bind_products(m);
  bind_split(m);
  bind_sparse(m);
  bind_palette(m);
  bind_affine(m);
  bind_integer(m);
  bind_blocks(m);
  bind_ans(m);
  bind_bench(m);
  bind_storage(m);
}
