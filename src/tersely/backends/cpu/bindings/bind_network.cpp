// Programs of whole networks: keep what they borrow alive, check sizes, release the lock, call.
#include <map>

#include "tersely/backends/cpu/bindings/matrix.hpp"
#include "tersely/backends/cpu/network/program.hpp"

namespace {

using tersely::require;
using Numbers = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using MutableFloats = nb::ndarray<float, nb::c_contig, nb::device::cpu>;

struct Program {
  nb::dict constants;
  std::vector<Numbers> arrays;
  std::unique_ptr<const tersely::Program> program;
};

// constants: matrices, and arrays of float32, int32, int8 or uint8, by name.
std::unique_ptr<Program> open_program(const std::string& text, nb::dict constants) {
  auto made = std::make_unique<Program>();
  made->constants = constants;
  std::map<std::string, tersely::Constant> found;
  for (const auto& [name, value] : constants) {
    tersely::Constant constant;
    if (nb::isinstance<Matrix>(value)) {
      constant.coded = nb::cast<const Matrix&>(value).coded.get();
    } else {
      const auto array = nb::cast<Numbers>(value);
      made->arrays.push_back(array);
      constant.count = static_cast<int64_t>(array.size());
      if (array.dtype() == nb::dtype<int32_t>()) {
        constant.integers = static_cast<const int32_t*>(array.data());
      } else if (array.dtype() == nb::dtype<int8_t>() || array.dtype() == nb::dtype<uint8_t>()) {
        constant.bytes = static_cast<const uint8_t*>(array.data());
      } else {
        require(array.dtype() == nb::dtype<float>(), "a constant is neither float32, int32 nor of bytes");
        constant.numbers = static_cast<const float*>(array.data());
      }
    }
    found[nb::cast<std::string>(name)] = constant;
  }
  made->program = std::make_unique<tersely::Program>(text, [&](const std::string& name) {
    const auto at = found.find(name);
    if (at == found.end()) throw std::invalid_argument("no constant " + name);
    return at->second;
  });
  return made;
}

void check(const tersely::Port& port, int64_t count, bool integers) {
  require(!port.used || (port.count == count && port.integers == integers),
          "inputs or outputs have other sizes or dtypes than the program");
}

// inputs: float32 or int64. Returns nanoseconds of each step where `timed`.
std::vector<int64_t> run(const Program& self, const std::vector<Numbers>& inputs,
                         const std::vector<MutableFloats>& outputs, int threads, bool timed) {
  std::vector<const void*> in;
  std::vector<float*> out;
  const tersely::Ports& ports = self.program->ports();
  require(inputs.size() >= ports.inputs.size() && outputs.size() >= ports.outputs.size(),
          "fewer inputs or outputs than the program has");
  for (const Numbers& one : inputs) {
    const bool integers = one.dtype() == nb::dtype<int64_t>();
    require(integers || one.dtype() == nb::dtype<float>(), "an input is neither float32 nor int64");
    if (in.size() < ports.inputs.size()) check(ports.inputs[in.size()], static_cast<int64_t>(one.size()), integers);
    in.push_back(one.data());
  }
  for (const MutableFloats& one : outputs) {
    if (out.size() < ports.outputs.size()) check(ports.outputs[out.size()], static_cast<int64_t>(one.size()), false);
    out.push_back(one.data());
  }
  std::vector<int64_t> nanoseconds(timed ? static_cast<size_t>(self.program->steps()) : 0);
  const Computing unlocked;
  self.program->run({in.data(), out.data()}, threads, timed ? nanoseconds.data() : nullptr);
  return nanoseconds;
}

}  // namespace

void bind_network(nb::module_& m) {
  nb::class_<Program>(m, "Program")
      .def_prop_ro("steps", [](const Program& self) { return self.program->steps(); })
      .def_prop_ro("arena_bytes", [](const Program& self) { return self.program->arena_bytes(); })
      .def("run", &run, nb::arg("inputs"), nb::arg("outputs"), nb::arg("threads"), nb::arg("timed") = false);
  m.def("open_program", &open_program, nb::arg("text"), nb::arg("constants"));
}
