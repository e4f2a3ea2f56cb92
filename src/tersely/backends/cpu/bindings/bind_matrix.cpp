// Coded matrices: one class for all formulations, over components that it keeps alive. Borrow, check, release the lock,
// call.
#include "tersely/backends/cpu/bindings/integer_operands.hpp"
#include "tersely/backends/cpu/bindings/matrix.hpp"
#include "tersely/backends/cpu/network/sparse_weights.hpp"
#include "tersely/codes/open.hpp"

namespace {

using tersely::CodedMatrix;
using tersely::Geometry;
using tersely::require;

// description: JSON (tersely/backends/cpu/matrix/description.hpp).
std::unique_ptr<Matrix> open(const std::string& description, const nb::dict& components) {
  auto matrix = std::make_unique<Matrix>();
  tersely::Components borrowed;
  for (const auto& [name, data] : components) {
    const auto array = nb::cast<ComponentArray>(data);
    matrix->arrays.push_back(array);
    borrowed.add(nb::cast<std::string>(name), {array.data(), static_cast<int64_t>(array.size())});
  }
  matrix->coded = tersely::open(tersely::Description::parse(description), borrowed);
  return matrix;
}

std::unique_ptr<Matrix> part(nb::handle self, int64_t matrix, int64_t first, int64_t last) {
  auto found = nb::cast<const Matrix&>(self)->part(matrix, first, last);
  if (found == nullptr) return nullptr;
  auto own = std::make_unique<Matrix>();
  own->whole = nb::borrow(self);
  own->coded = std::move(found);
  return own;
}

const char* products(const Matrix& self) {
  constexpr const char* kNames[] = {"none", "floats", "integers", "nibbles"};
  return kNames[static_cast<int>(self->products())];
}

void decode_at(const Matrix& self, uintptr_t out, int threads) {
  const Geometry& g = self->geometry();
  const Computing unlocked;
  self->decode_window(0, g.panels, 0, g.elements, reinterpret_cast<uint8_t*>(out), threads);
}

void decode(const Matrix& self, MutableWords out, int threads) {
  require(static_cast<int64_t>(out.nbytes()) == self->geometry().elements * self->word_bytes(),
          "out has the wrong size");
  decode_at(self, reinterpret_cast<uintptr_t>(out.data()), threads);
}

void decode_window(const Matrix& self, MutableWords out, int64_t first_panel, int64_t last_panel, int64_t first_element,
                   int threads) {
  const Geometry& g = self->geometry();
  const int64_t elements = static_cast<int64_t>(out.nbytes()) / self->word_bytes();
  require(first_panel >= 0 && last_panel <= g.panels && first_element >= 0 && first_element + elements <= g.elements,
          "window out of range");
  const Computing unlocked;
  self->decode_window(first_panel, last_panel, first_element, elements, as<uint8_t>(out), threads);
}

uint32_t access_weight(const Matrix& self, int64_t matrix, int64_t row, int64_t column) {
  const Geometry& g = self->geometry();
  require(matrix >= 0 && matrix < g.count && row >= 0 && row < g.rows && column >= 0 && column < g.columns,
          "index out of range");
  const tersely::DefaultFloats floats;
  return self->access(matrix, row, column);
}

// Rows of the matrix by number (int64), in any order, into out [count][columns]. Returns the place of the first number
// out of range, having written nothing, or -1.
int64_t pick_at(const Matrix& self, uintptr_t indices, int64_t count, uintptr_t out, int threads) {
  const Geometry& g = self->geometry();
  require(g.count == 1 && g.column_stride == 1 && g.column_offsets == nullptr && g.row_stride == g.columns &&
              g.elements == g.rows * g.columns,
          "rows are picked from a matrix that is stored by rows");
  const Computing unlocked;
  return self->pick(reinterpret_cast<const int64_t*>(indices), count, reinterpret_cast<uint8_t*>(out), threads);
}

// What every product of floats goes through: x and y by rows, one after another.
void multiply(const Matrix& self, tersely::DType dtype, int64_t batch, const void* x, const float* bias, void* out,
              int threads, bool transposed) {
  const Geometry& g = self->geometry();
  tersely::Epilogue y{dtype, out, transposed ? g.columns : g.rows};
  y.bias = bias;
  self->multiply({dtype, batch, x, transposed ? g.rows : g.columns}, y, threads, transposed);
}

void linear(const Matrix& self, Words x, const std::string& dtype, nb::object bias, MutableWords out, int threads,
            bool transposed) {
  const Geometry& g = self->geometry();
  const tersely::DType kind = tersely::dtype_of(dtype);
  const int64_t inner = transposed ? g.rows : g.columns, outer = transposed ? g.columns : g.rows;
  require(x.ndim() == 2 && out.ndim() == 2, "a product needs x and out of two dimensions");
  const auto batch = static_cast<int64_t>(x.shape(0));
  require(static_cast<int64_t>(x.nbytes()) == batch * inner * tersely::word_bytes_of(kind) &&
              static_cast<int64_t>(out.nbytes()) == batch * outer * tersely::word_bytes_of(kind),
          "x or out has the wrong size");
  nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu> bias_array;
  if (!bias.is_none()) {
    bias_array = nb::cast<decltype(bias_array)>(bias);
    require(static_cast<int64_t>(bias_array.size()) == outer, "bias has the wrong size");
  }
  const Computing unlocked;
  multiply(self, kind, batch, x.data(), bias_array.data(), out.data(), threads, transposed);
}

// As `linear`, on addresses: what a caller that has checked everything pays per call. x, out: [batch][...] words of
// dtype; bias: null or [outer] words of bias_dtype; dtypes are 0 float32, 1 bfloat16, 2 float16.
void multiply_at(const Matrix& self, uintptr_t x, int dtype, int64_t batch, uintptr_t bias, int bias_dtype,
                 uintptr_t out, int threads, bool transposed) {
  const Geometry& g = self->geometry();
  require(dtype >= 0 && dtype <= 2 && bias_dtype >= 0 && bias_dtype <= 2, "a product takes three dtypes");
  const int64_t outer = transposed ? g.columns : g.rows;
  const Computing unlocked;
  static thread_local std::vector<float> widened;
  const auto* floats = reinterpret_cast<const float*>(bias);
  if (bias != 0 && bias_dtype != 0) {
    widened.resize(static_cast<size_t>(outer));
    tersely::active_table().widen_words(static_cast<tersely::DType>(bias_dtype), reinterpret_cast<const void*>(bias),
                                        outer, widened.data());
    floats = widened.data();
  }
  multiply(self, static_cast<tersely::DType>(dtype), batch, reinterpret_cast<const void*>(x), floats,
           reinterpret_cast<void*>(out), threads, transposed);
}

bool integer_linear(const Matrix& self, Words x, const std::string& dtype, Doubles scale, Int32s zero, nb::object bias,
                    MutableWords out, int threads, int64_t groups) {
  const Geometry& g = self->geometry();
  require(g.count == 1 && self->products() == tersely::Products::kIntegers,
          "a product needs a matrix of 8-bit weights");
  const IntegerOperands operands(g.rows, g.columns, x, dtype, scale, zero, bias, out, groups);
  const Computing unlocked;
  return self->multiply_integers(operands.rows, threads);
}

bool nibbles_linear(const Matrix& self, Words x, const std::string& dtype, bool is_signed, Doubles scale, Int32s zero,
                    nb::object bias, MutableWords out, int threads, int64_t groups) {
  const Geometry& g = self->geometry();
  require(g.count == 1 && self->products() == tersely::Products::kNibbles,
          "a product needs a matrix of 4-bit weights, two a byte");
  const IntegerOperands operands(g.rows, 2 * g.columns, x, dtype, scale, zero, bias, out, groups);
  const Computing unlocked;
  return self->multiply_nibbles(operands.rows, is_signed, threads);
}

}  // namespace

void bind_matrix(nb::module_& m) {
  nb::class_<Matrix>(m, "Matrix")
      .def_prop_ro("products", &products)
      .def(
          "convolves",
          [](const Matrix& self, int64_t groups, int64_t channels, int64_t outputs, int64_t taps) {
            return tersely::ConvolutionWeights::walks(self->words(), {groups, channels, outputs}, taps);
          },
          nb::arg("groups"), nb::arg("channels"), nb::arg("outputs"), nb::arg("taps"))
      .def(
          "lists",
          [](const Matrix& self, int64_t groups, int64_t channels, int64_t outputs, int64_t taps) {
            return tersely::SparseWeights::lists(*self.operator->(), {groups, channels, outputs}, taps);
          },
          nb::arg("groups"), nb::arg("channels"), nb::arg("outputs"), nb::arg("taps"))
      .def("decode", &decode, nb::arg("out"), nb::arg("threads"))
      .def("decode_at", &decode_at, nb::arg("out"), nb::arg("threads"))
      .def("decode_window", &decode_window, nb::arg("out"), nb::arg("first_panel"), nb::arg("last_panel"),
           nb::arg("first_element"), nb::arg("threads"))
      .def("access", &access_weight, nb::arg("matrix"), nb::arg("row"), nb::arg("column"))
      .def("pick_at", &pick_at, nb::arg("indices"), nb::arg("count"), nb::arg("out"), nb::arg("threads"))
      .def("part", &part, nb::arg("matrix"), nb::arg("first"), nb::arg("last"))
      .def("multiply_at", &multiply_at)
      .def(
          "linear",
          [](const Matrix& self, Words x, const std::string& dtype, nb::object bias, MutableWords out, int threads) {
            linear(self, x, dtype, bias, out, threads, false);
          },
          nb::arg("x"), nb::arg("dtype"), nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"))
      .def(
          "linear_transposed",
          [](const Matrix& self, Words x, const std::string& dtype, nb::object bias, MutableWords out, int threads) {
            linear(self, x, dtype, bias, out, threads, true);
          },
          nb::arg("x"), nb::arg("dtype"), nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"))
      .def("integer_linear", &integer_linear, nb::arg("x"), nb::arg("dtype"), nb::arg("scale"), nb::arg("zero"),
           nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"), nb::arg("groups") = 1)
      .def("nibbles_linear", &nibbles_linear, nb::arg("x"), nb::arg("dtype"), nb::arg("is_signed"), nb::arg("scale"),
           nb::arg("zero"), nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"), nb::arg("groups") = 1);
  m.def("open", &open, nb::arg("description"), nb::arg("components"));
}
