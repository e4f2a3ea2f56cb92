// The formulation `integer` and products of 8-bit weights: borrow arrays, check their sizes, release the lock, call.
#include "tersely/backends/cpu/bindings/operands.hpp"
#include "tersely/backends/cpu/bindings/split_matrix.hpp"
#include "tersely/codes/integer/integer.hpp"
#include "tersely/codes/integer/values.hpp"

namespace {

uint8_t flip_of(const std::string& dtype) {
  require(dtype == "int8" || dtype == "uint8", "integer codes int8 and uint8");
  return dtype == "int8" ? 0x80 : 0;
}

// A view over components that the object keeps alive.
class IntegerMatrix : protected BorrowedMatrix {
 public:
  IntegerMatrix(const OwnedGeometry& geometry, const std::string& dtype, nb::dict components)
      : BorrowedMatrix(geometry, components) {
    view_.geometry = with_offsets(geometry_);
    view_.flip = flip_of(dtype);
    view_.fields = borrow("fields");
    view_.groups = borrow("groups");
    view_.places = borrow("places");
    view_.escapes = borrow("escapes");
    view_.directory = borrow_directory();
    starts_ = tersely::field_starts(view_.geometry, view_.groups);
    view_.starts = starts_.data();
  }

  const tersely::Geometry& geometry() const { return view_.geometry; }
  int64_t word_bytes() const { return 1; }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const {
    tersely::integer_decode_window(view_, tersely::active_table(), first_panel, last_panel, first_element, elements,
                                   out, threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const {
    return tersely::integer_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const {
    return tersely::integer_pick_rows(view_, tersely::active_table(), wanted, count, out, threads);
  }
  bool linear(Words x, const std::string& dtype, Doubles scale, Whole zero, nb::object bias, MutableWords out,
              int threads, int64_t groups) const {
    const tersely::Geometry& g = view_.geometry;
    require(g.count == 1, "a product needs a matrix");
    const Operands operands(g.rows, g.columns, x, dtype, scale, zero, bias, out, groups);
    require(groups == 1 || g.columns / groups % tersely::kFieldBlockColumns == 0, "groups are whole blocks of columns");
    const Computing unlocked;
    return tersely::integer_linear(view_, tersely::active_table(), operands.rows, threads);
  }

 private:
  std::vector<int64_t> starts_;
  tersely::IntegerView view_{};
};

// Distances from a centre, whose folded words are a matrix under `split`, which the binding keeps alive.
class DistanceMatrix {
 public:
  DistanceMatrix(const SplitMatrix& folded, const std::string& dtype, uint32_t centre) : view_(folded.view()) {
    const tersely::DType like = view_.parameters.dtype;
    const bool wide = dtype == "int16" || dtype == "uint16";
    is_signed_ = wide ? dtype == "int16" : flip_of(dtype) != 0;
    require(word_bytes_of(like) <= (wide ? 2 : 1), "folded words are at most as long as what they stand for");
    folding_.centre = static_cast<uint16_t>(centre);
    // float16 has the vector order of bytes.
    folding_.written = wide && word_bytes_of(like) == 1 ? tersely::DType::kFloat16 : like;
    view_.folding = &folding_;
  }
  DistanceMatrix(const DistanceMatrix&) = delete;

  const tersely::Geometry& geometry() const { return view_.geometry; }
  int64_t word_bytes() const { return word_bytes_of(folding_.written); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const {
    tersely::decode_window(view_, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const {
    return tersely::access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const {
    return tersely::pick_rows(view_, tersely::active_table(), wanted, count, out, threads);
  }
  bool linear(Words x, const std::string& dtype, Doubles scale, Whole zero, nb::object bias, MutableWords out,
              int threads) const {
    const tersely::Geometry& g = view_.geometry;
    require(g.count == 1 && word_bytes() == 1, "a product needs a matrix of 8-bit weights");
    const Operands operands(g.rows, g.columns, x, dtype, scale, zero, bias, out);
    const Computing unlocked;
    return tersely::folded_integer_linear(view_, is_signed_, tersely::active_table(), operands.rows, threads);
  }

 private:
  tersely::SplitView view_;
  tersely::Folding folding_{};
  bool is_signed_;
};

// Values of a sparse matrix; folded: its values under `split`, which the binding keeps alive.
class DistanceValuesMatrix : public tersely::DistanceValues {
 public:
  DistanceValuesMatrix(const tersely::ValueSource& folded, uint32_t centre)
      : DistanceValues(checked(folded), static_cast<uint8_t>(centre)) {}

 private:
  static const tersely::SplitValues& checked(const tersely::ValueSource& folded) {
    const auto* found = dynamic_cast<const tersely::SplitValues*>(&folded);
    require(found != nullptr && word_bytes_of(found->parameters().dtype) == 1, "these values are no folded bytes");
    return *found;
  }
};

void statistics(Words words, const OwnedGeometry& owned, const std::string& dtype, MutableWords levels, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  require(static_cast<int64_t>(words.nbytes()) == g.elements &&
              static_cast<int64_t>(levels.nbytes()) == g.segments * 256 * 4,
          "an array has the wrong size");
  const uint8_t flip = flip_of(dtype);
  const Computing unlocked;
  tersely::integer_statistics(static_cast<const uint8_t*>(words.data()), g, flip, static_cast<uint32_t*>(levels.data()),
                              threads);
}

void encode(Words words, const OwnedGeometry& owned, const std::string& dtype, nb::dict components, int threads) {
  tersely::IntegerView view{};
  view.geometry = with_offsets(owned);
  view.flip = flip_of(dtype);
  require(static_cast<int64_t>(words.nbytes()) == view.geometry.elements, "words have the wrong size");
  auto fields = nb::cast<MutableBytes>(components["fields"]), places = nb::cast<MutableBytes>(components["places"]),
       escapes = nb::cast<MutableBytes>(components["escapes"]), groups = nb::cast<MutableBytes>(components["groups"]),
       directory = nb::cast<MutableBytes>(components["directory"]);
  view.fields = fields.data();
  view.groups = groups.data();
  view.directory = reinterpret_cast<const uint64_t*>(directory.data());
  const std::vector<int64_t> starts = tersely::field_starts(view.geometry, view.groups);
  view.starts = starts.data();
  bool same;
  {
    const Computing unlocked;
    same = tersely::integer_encode(static_cast<const uint8_t*>(words.data()), view, fields.data(), places.data(),
                                   escapes.data(), threads);
  }
  if (!same) throw std::runtime_error("the words changed while they were encoded");
}

// Products of 8-bit weights as they are.
bool dense_linear(Words words, const std::string& dtype, int64_t matrix_rows, int64_t columns, Words x,
                  const std::string& x_dtype, Doubles scale, Whole zero, nb::object bias, MutableWords out,
                  int threads) {
  require(static_cast<int64_t>(words.nbytes()) == matrix_rows * columns, "words have the wrong size");
  const bool is_signed = flip_of(dtype) != 0;
  const Operands operands(matrix_rows, columns, x, x_dtype, scale, zero, bias, out);
  const Computing unlocked;
  return tersely::dense_integer_linear(static_cast<const uint8_t*>(words.data()), is_signed, matrix_rows, columns,
                                       tersely::active_table(), operands.rows, threads);
}

// Products of 4-bit weights, two a byte.
bool pair_linear(Words pairs, bool is_signed, int64_t matrix_rows, int64_t columns, Words x, const std::string& dtype,
                 Doubles scale, Whole zero, nb::object bias, MutableWords out, int threads, int64_t groups) {
  require(columns % 2 == 0 && static_cast<int64_t>(pairs.nbytes()) == matrix_rows * (columns / 2),
          "pairs have the wrong size");
  const Operands operands(matrix_rows, columns, x, dtype, scale, zero, bias, out, groups);
  const Computing unlocked;
  return tersely::pair_integer_linear(static_cast<const uint8_t*>(pairs.data()), is_signed, matrix_rows, columns,
                                      tersely::active_table(), operands.rows, threads);
}

}  // namespace

void bind_integer(nb::module_& m) {
  nb::class_<IntegerMatrix> matrix(m, "IntegerMatrix");
  matrix.def(nb::init<const OwnedGeometry&, const std::string&, nb::dict>());
  bind_reading(matrix);
  matrix.def("integer_linear", &IntegerMatrix::linear, nb::arg("x"), nb::arg("dtype"), nb::arg("scale"),
             nb::arg("zero"), nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"), nb::arg("groups") = 1);
  matrix.def("part", &no_part<IntegerMatrix>);
  nb::class_<DistanceMatrix> distances(m, "DistanceMatrix");
  distances.def(nb::init<const SplitMatrix&, const std::string&, uint32_t>(), nb::keep_alive<1, 2>());
  bind_reading(distances);
  distances.def("integer_linear", &DistanceMatrix::linear, nb::arg("x"), nb::arg("dtype"), nb::arg("scale"),
                nb::arg("zero"), nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"));
  distances.def("part", &no_part<DistanceMatrix>);
  nb::class_<DistanceValuesMatrix, tersely::ValueSource>(m, "DistanceValues")
      .def(nb::init<const tersely::ValueSource&, uint32_t>(), nb::keep_alive<1, 2>());
  m.def("integer_statistics", &statistics);
  m.def("integer_encode", &encode);
  m.def("dense_integer_linear", &dense_linear, nb::arg("words"), nb::arg("dtype"), nb::arg("rows"), nb::arg("columns"),
        nb::arg("x"), nb::arg("x_dtype"), nb::arg("scale"), nb::arg("zero"), nb::arg("bias").none(), nb::arg("out"),
        nb::arg("threads"));
  m.def("pair_integer_linear", &pair_linear, nb::arg("pairs"), nb::arg("is_signed"), nb::arg("rows"),
        nb::arg("columns"), nb::arg("x"), nb::arg("dtype"), nb::arg("scale"), nb::arg("zero"), nb::arg("bias").none(),
        nb::arg("out"), nb::arg("threads"), nb::arg("groups") = 1);
}
