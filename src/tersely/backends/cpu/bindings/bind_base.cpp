// Instruction sets, threads, and the processor.
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "tersely/backends/cpu/base/cpu.hpp"
#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace {

int isa_index(const std::string& name) {
  for (int isa = 0; isa < tersely::kIsaCount; ++isa)
    if (name == tersely::kIsaNames[isa]) return isa;
  throw std::invalid_argument("unknown instruction set " + name);
}

// For a with-block, which ends on the thread and at the time that Python says, whoever holds its frame.
struct FloatsScope {
  std::optional<tersely::DefaultFloats> held;
};

}  // namespace

void bind_base(nb::module_& m) {
  m.def("isa_available", [] {
    std::vector<std::string> names;
    for (int isa = 0; isa < tersely::kIsaCount; ++isa)
      if (tersely::isa_why_not(isa) == nullptr) names.emplace_back(tersely::kIsaNames[isa]);
    return names;
  });
  m.def("isa_why_not", [](const std::string& name) {
    const char* reason = tersely::isa_why_not(isa_index(name));
    return std::string(reason == nullptr ? "" : reason);
  });
  m.def("isa_active", [] { return std::string(tersely::active_table().isa); });
  m.def("isa_use", [](const std::string& name) {
    const int isa = isa_index(name);
    if (const char* reason = tersely::isa_why_not(isa)) throw std::invalid_argument(reason);
    tersely::use_isa(isa);
  });
  m.def("cpu_name", [] { return std::string(tersely::cpu_name()); });
  m.def("cpu_has_slow_gather", &tersely::cpu_has_slow_gather);
  nb::class_<FloatsScope>(m, "DefaultFloats")
      .def(nb::init<>())
      .def("__enter__", [](FloatsScope& self) { self.held.emplace(); })
      .def(
          "__exit__", [](FloatsScope& self, nb::object, nb::object, nb::object) { self.held.reset(); },
          nb::arg("kind").none(), nb::arg("error").none(), nb::arg("trace").none());
  m.def("parallel_pool_name", [] { return std::string(tersely::parallel_pool_name()); });
}
