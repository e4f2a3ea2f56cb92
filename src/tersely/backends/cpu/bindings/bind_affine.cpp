// The formulation `affine`: borrow arrays, check their sizes, release the interpreter lock, call.
#include <memory>
#include <vector>

#include "tersely/backends/cpu/bindings/lines.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"
#include "tersely/codes/affine/affine.hpp"

namespace {

using Zeros = nb::ndarray<const int16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutableZeros = nb::ndarray<int16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Scales = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutableScales = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// A view over components that the object keeps alive. coded: the numbers as a matrix under `split`, or None where they
// are lines of `bits`.
class AffineMatrix : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  AffineMatrix(const OwnedGeometry& geometry, const std::string& dtype, int64_t columns, const std::string& scale_dtype,
               nb::object zero, bool signs, int bits, nb::dict components, nb::object coded)
      : BorrowedMatrix(geometry, components), view_(std::make_unique<tersely::AffineView>()), coded_(coded) {
    tersely::SplitView& words = view_->words;
    words.geometry = with_offsets(geometry_);
    words.parameters = {};
    words.parameters.dtype = wide_dtype(dtype);
    words.parameters.code = tersely::Code::kAffine;
    words.streams = {};
    tersely::AffineScales& scales = view_->scales;
    scales = {};
    scales.dtype = wide_dtype(scale_dtype);
    scales.group_chunks = group_chunks_of(words.geometry, columns);
    scales.groups = groups_of(words.geometry, scales.group_chunks);
    const int64_t count = words.geometry.panels * scales.groups * 16;
    scales.scales = borrow("scales");
    require(static_cast<int64_t>(keep_.back().size()) >= count * word_bytes_of(scales.dtype), "scales are too few");
    if (zero.is_none()) {
      scales.zeros = borrow("zeros");
      require(static_cast<int64_t>(keep_.back().size()) >= count * 2, "zeros are too few");
    } else {
      scales.zero = nb::cast<int32_t>(zero);
    }
    if (signs) {
      scales.signs = borrow("signs");
      scales.directory = borrow_directory();
    }
    if (coded.is_none()) borrow("numbers");
    numbers_ = coded.is_none() ? numbers_in(words.geometry, keep_.back(), bits) : numbers_of(coded);
    view_->lines = numbers_.lines;
    words.streams.tiles = numbers_.tiles;  // chunks take no bytes of it: a segment is expanded before it is walked
    groups_ =
        std::make_unique<tersely::AffineNumbers>(words.geometry, words.parameters.dtype, scales, *numbers_.source);
    words.groups = groups_.get();
  }
  AffineMatrix(const AffineMatrix&) = delete;

  const tersely::Geometry& geometry() const override { return view_->words.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_->words.parameters.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::decode_window(view_->words, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return groups_->access(tersely::active_table(), matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::pick_rows(view_->words, tersely::active_table(), wanted, count, out, threads);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    if (transposed) return tersely::linear_transposed(view_->words, tersely::active_table(), rows, threads);
    tersely::affine_linear(*view_, tersely::active_table(), rows, threads);
  }

 private:
  std::unique_ptr<tersely::AffineView> view_;
  nb::object coded_;
  BorrowedNumbers numbers_;
  std::unique_ptr<tersely::AffineNumbers> groups_;
};

int64_t checked_places(const tersely::Geometry& g, int64_t columns, int64_t size) {
  const int64_t count = g.panels * groups_of(g, group_chunks_of(g, columns)) * 16;
  require(size == count, "an array has the wrong size");
  return count;
}

// None where the words are no scale x whole numbers; else whether any is -0.0.
nb::object fit(Words words, const std::string& dtype, const OwnedGeometry& owned, int64_t columns,
               MutableScales float32, MutableScales bfloat16, MutableScales float16, MutableZeros low,
               MutableZeros high, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const tersely::DType kind = wide_dtype(dtype);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(kind), "words have the wrong size");
  for (size_t size : {float32.size(), bfloat16.size(), float16.size(), low.size(), high.size()})
    checked_places(g, columns, static_cast<int64_t>(size));
  tersely::AffineFit found{{float32.data(), bfloat16.data(), float16.data()}, low.data(), high.data(), false};
  bool fits;
  {
    const Computing unlocked;
    fits = tersely::affine_fit(static_cast<const uint8_t*>(words.data()), kind, g, group_chunks_of(g, columns), found,
                               threads);
  }
  return fits ? nb::cast(found.negative_zeros) : nb::none();
}

tersely::AffineScales scales_of(const tersely::Geometry& g, int64_t columns, const Zeros& zeros) {
  tersely::AffineScales scales{};
  checked_places(g, columns, static_cast<int64_t>(zeros.size()));
  scales.zeros = reinterpret_cast<const uint8_t*>(zeros.data());
  scales.group_chunks = group_chunks_of(g, columns);
  scales.groups = groups_of(g, scales.group_chunks);
  return scales;
}

// Whether all words are numbers. negative: of as many bytes, or None.
bool numbers(Words words, const std::string& dtype, const OwnedGeometry& owned, int64_t columns, Scales scale,
             Zeros zeros, int most, MutableWords out, nb::object negative, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const tersely::DType kind = wide_dtype(dtype);
  tersely::AffineScales scales = scales_of(g, columns, zeros);
  checked_places(g, columns, static_cast<int64_t>(scale.size()));
  scales.scales = reinterpret_cast<const uint8_t*>(scale.data());
  require(static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(kind) &&
              static_cast<int64_t>(out.nbytes()) == g.elements,
          "words have the wrong size");
  MutableWords marks;
  if (!negative.is_none()) {
    marks = nb::cast<MutableWords>(negative);
    require(static_cast<int64_t>(marks.nbytes()) == g.elements, "marks have the wrong size");
  }
  auto* to = negative.is_none() ? nullptr : static_cast<uint8_t*>(marks.data());
  const Computing unlocked;
  return tersely::affine_numbers(static_cast<const uint8_t*>(words.data()), kind, g, scales, most,
                                 static_cast<uint8_t*>(out.data()), to, threads);
}

void lines(Words numbers, const OwnedGeometry& owned, int bits, MutableBytes out, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  require((bits == 1 || bits == 2 || bits == 4 || bits == 8) && static_cast<int64_t>(numbers.nbytes()) == g.elements &&
              static_cast<int64_t>(out.size()) >= g.panels * tersely::panel_line_bytes(g, bits),
          "an array has the wrong size");
  const Computing unlocked;
  tersely::affine_lines(static_cast<const uint8_t*>(numbers.data()), g, bits, out.data(), threads);
}

// bytes [segments] gets the bytes of each segment's signs; with a directory of them, signs get the signs.
void signs(Words numbers, Words negative, const OwnedGeometry& owned, int64_t columns, Zeros zeros, MutableWords bytes,
           nb::object directory, nb::object out, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  tersely::AffineScales scales = scales_of(g, columns, zeros);
  require(static_cast<int64_t>(numbers.nbytes()) == g.elements && numbers.nbytes() == negative.nbytes() &&
              static_cast<int64_t>(bytes.nbytes()) == g.segments * 8,
          "an array has the wrong size");
  uint8_t* to = nullptr;
  if (!out.is_none()) {
    const auto starts = nb::cast<Words>(directory);
    const auto room = nb::cast<MutableBytes>(out);
    scales.directory = static_cast<const uint64_t*>(starts.data());
    require(
        static_cast<int64_t>(starts.nbytes()) == (g.segments + 1) * 8 && room.size() >= scales.directory[g.segments],
        "an array has the wrong size");
    to = room.data();
  }
  const Computing unlocked;
  tersely::affine_signs(static_cast<const uint8_t*>(numbers.data()), static_cast<const uint8_t*>(negative.data()), g,
                        scales, static_cast<uint64_t*>(bytes.data()), to, threads);
}

}  // namespace

void bind_affine(nb::module_& m) {
  nb::class_<AffineMatrix, tersely::CodedMatrix> matrix(m, "AffineMatrix");
  matrix.def(nb::init<const OwnedGeometry&, const std::string&, int64_t, const std::string&, nb::object, bool, int,
                      nb::dict, nb::object>(),
             nb::arg("geometry"), nb::arg("dtype"), nb::arg("columns"), nb::arg("scale_dtype"), nb::arg("zero").none(),
             nb::arg("signs"), nb::arg("bits"), nb::arg("components"), nb::arg("coded").none());
  bind_matrix(matrix);
  matrix.def("part", &no_part<AffineMatrix>);
  m.def("affine_fit", &fit);
  m.def("affine_numbers", &numbers, nb::arg("words"), nb::arg("dtype"), nb::arg("geometry"), nb::arg("columns"),
        nb::arg("scales"), nb::arg("zeros"), nb::arg("most"), nb::arg("out"), nb::arg("negative").none(),
        nb::arg("threads"));
  m.def("affine_lines", &lines);
  m.def("affine_signs", &signs, nb::arg("numbers"), nb::arg("negative"), nb::arg("geometry"), nb::arg("columns"),
        nb::arg("zeros"), nb::arg("bytes"), nb::arg("directory").none(), nb::arg("out").none(), nb::arg("threads"));
}
