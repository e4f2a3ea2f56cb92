// Programs of whole networks: keep what they borrow alive, check sizes, release the lock, call.
#include <map>

#include "tersely/backends/cpu/bindings/matrix.hpp"
#include "tersely/backends/cpu/network/program.hpp"

namespace {

using tersely::require;
using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using MutableFloats = nb::ndarray<float, nb::c_contig, nb::device::cpu>;

struct Program {
  nb::dict constants;
  std::vector<Floats> arrays;
  std::vector<int64_t> input_sizes, output_sizes;
  std::unique_ptr<const tersely::Program> program;
};

// constants: matrices and float32 arrays by name.
std::unique_ptr<Program> open_program(const std::string& text, nb::dict constants, std::vector<int64_t> input_sizes,
                                      std::vector<int64_t> output_sizes) {
  auto made = std::make_unique<Program>();
  made->constants = constants;
  made->input_sizes = std::move(input_sizes), made->output_sizes = std::move(output_sizes);
  std::map<std::string, tersely::Constant> found;
  for (const auto& [name, value] : constants) {
    tersely::Constant constant;
    if (nb::isinstance<Matrix>(value)) {
      constant.coded = nb::cast<const Matrix&>(value).coded.get();
    } else {
      const auto array = nb::cast<Floats>(value);
      made->arrays.push_back(array);
      constant.numbers = array.data(), constant.count = static_cast<int64_t>(array.size());
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

void check_sizes(const std::vector<int64_t>& sizes, const std::vector<int64_t>& expected) {
  require(sizes == expected, "inputs or outputs have other sizes than the program");
}

// Returns nanoseconds of each step where `timed`.
std::vector<int64_t> run(const Program& self, const std::vector<Floats>& inputs,
                         const std::vector<MutableFloats>& outputs, int threads, bool timed) {
  std::vector<const float*> in;
  std::vector<float*> out;
  std::vector<int64_t> in_sizes, out_sizes;
  for (const Floats& one : inputs) in.push_back(one.data()), in_sizes.push_back(static_cast<int64_t>(one.size()));
  for (const MutableFloats& one : outputs)
    out.push_back(one.data()), out_sizes.push_back(static_cast<int64_t>(one.size()));
  check_sizes(in_sizes, self.input_sizes);
  check_sizes(out_sizes, self.output_sizes);
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
  m.def("open_program", &open_program, nb::arg("text"), nb::arg("constants"), nb::arg("input_sizes"),
        nb::arg("output_sizes"));
}
