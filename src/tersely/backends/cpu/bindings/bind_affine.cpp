// The encoders of `affine` and `row_palette`: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/codes/words/row_palette/row_palette.hpp"

namespace {

using tersely::Seen;
using Zeros = nb::ndarray<const int16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutableZeros = nb::ndarray<int16_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Scales = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutableScales = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

int64_t checked_groups(const tersely::Geometry& g, int64_t columns, int64_t size) {
  const int64_t count = g.panels * tersely::groups_of(g, tersely::group_chunks_of(g, columns)) * 16;
  require_size(size == count);
  return count;
}

// None where the words are no scale x integers; else whether any is -0.0.
nb::object fit(Words words, const std::string& dtype, const Seen& seen, int64_t columns, MutableScales float32,
               MutableScales bfloat16, MutableScales float16, MutableZeros low, MutableZeros high, int threads) {
  const tersely::Geometry& g = seen.geometry;
  const tersely::DType kind = tersely::wide_dtype(dtype);
  tersely::require(static_cast<int64_t>(words.nbytes()) == g.elements * tersely::word_bytes_of(kind),
                   "words have the wrong size");
  for (size_t size : {float32.size(), bfloat16.size(), float16.size(), low.size(), high.size()})
    checked_groups(g, columns, static_cast<int64_t>(size));
  tersely::AffineFit found{{float32.data(), bfloat16.data(), float16.data()}, low.data(), high.data(), false};
  bool fits;
  {
    const Computing unlocked;
    fits = tersely::affine_fit(bytes_of(words), kind, g, tersely::group_chunks_of(g, columns), found, threads);
  }
  return fits ? nb::cast(found.negative_zeros) : nb::none();
}

tersely::AffineScales scales_of(const tersely::Geometry& g, int64_t columns, const Zeros& zeros) {
  tersely::AffineScales scales{};
  checked_groups(g, columns, static_cast<int64_t>(zeros.size()));
  scales.zeros = reinterpret_cast<const uint8_t*>(zeros.data());
  scales.group_chunks = tersely::group_chunks_of(g, columns);
  scales.groups = tersely::groups_of(g, scales.group_chunks);
  return scales;
}

// Whether all words are numbers. negative: of as many bytes, or None.
bool numbers(Words words, const std::string& dtype, const Seen& seen, int64_t columns, Scales scale, Zeros zeros,
             int most, MutableWords out, nb::object negative, int threads) {
  const tersely::Geometry& g = seen.geometry;
  const tersely::DType kind = tersely::wide_dtype(dtype);
  tersely::AffineScales scales = scales_of(g, columns, zeros);
  checked_groups(g, columns, static_cast<int64_t>(scale.size()));
  scales.scales = reinterpret_cast<const uint8_t*>(scale.data());
  tersely::require(static_cast<int64_t>(words.nbytes()) == g.elements * tersely::word_bytes_of(kind) &&
                       static_cast<int64_t>(out.nbytes()) == g.elements,
                   "words have the wrong size");
  MutableWords marks;
  if (!negative.is_none()) {
    marks = nb::cast<MutableWords>(negative);
    tersely::require(static_cast<int64_t>(marks.nbytes()) == g.elements, "marks have the wrong size");
  }
  auto* to = negative.is_none() ? nullptr : as<uint8_t>(marks);
  const Computing unlocked;
  return tersely::affine_numbers(bytes_of(words), kind, g, scales, most, as<uint8_t>(out), to, threads);
}

void lines(Words numbers, const Seen& seen, int bits, MutableBytes out, int threads) {
  const tersely::Geometry& g = seen.geometry;
  require_size((bits == 1 || bits == 2 || bits == 4 || bits == 8) &&
               static_cast<int64_t>(numbers.nbytes()) == g.elements &&
               static_cast<int64_t>(out.size()) >= g.panels * tersely::panel_line_bytes(g, bits));
  const Computing unlocked;
  tersely::affine_row_fields(bytes_of(numbers), g, bits, out.data(), threads);
}

// bytes [segments] gets the bytes of each segment's signs; with a directory of them, signs get the signs.
void signs(Words numbers, Words negative, const Seen& seen, int64_t columns, Zeros zeros, MutableWords bytes,
           nb::object directory, nb::object out, int threads) {
  const tersely::Geometry& g = seen.geometry;
  tersely::AffineScales scales = scales_of(g, columns, zeros);
  require_size(static_cast<int64_t>(numbers.nbytes()) == g.elements && numbers.nbytes() == negative.nbytes() &&
               static_cast<int64_t>(bytes.nbytes()) == g.segments * 8);
  uint8_t* to = nullptr;
  if (!out.is_none()) {
    const auto starts = nb::cast<Words>(directory);
    const auto room = nb::cast<MutableBytes>(out);
    scales.directory = static_cast<const uint64_t*>(starts.data());
    require_size(static_cast<int64_t>(starts.nbytes()) == (g.segments + 1) * 8 &&
                 room.size() >= scales.directory[g.segments]);
    to = room.data();
  }
  const Computing unlocked;
  tersely::affine_signs(bytes_of(numbers), bytes_of(negative), g, scales, as<uint64_t>(bytes), to, threads);
}

int entries(Words words, const std::string& dtype, const Seen& seen, int64_t columns, int most, int threads) {
  const tersely::Geometry& g = seen.geometry;
  const tersely::DType kind = tersely::wide_dtype(dtype);
  tersely::require(
      static_cast<int64_t>(words.nbytes()) == g.elements * tersely::word_bytes_of(kind) && most >= 1 && most <= 256,
      "words have the wrong size");
  const Computing unlocked;
  return tersely::row_palette_entries(bytes_of(words), kind, g, tersely::group_chunks_of(g, columns), most, threads);
}

void encode_tables(Words words, const std::string& dtype, const Seen& seen, int64_t columns, int entries,
                   MutableWords tables, MutableWords indices, int threads) {
  const tersely::Geometry& g = seen.geometry;
  const tersely::DType kind = tersely::wide_dtype(dtype);
  tersely::RowTables shape{kind, nullptr, entries, tersely::group_chunks_of(g, columns), 0};
  shape.groups = tersely::groups_of(g, shape.group_chunks);
  require_size(static_cast<int64_t>(words.nbytes()) == g.elements * tersely::word_bytes_of(kind) &&
               static_cast<int64_t>(indices.nbytes()) == g.elements && entries >= 1 && entries <= 256 &&
               static_cast<int64_t>(tables.nbytes()) ==
                   g.panels * shape.groups * 16 * entries * tersely::word_bytes_of(kind));
  const Computing unlocked;
  tersely::row_palette_encode(bytes_of(words), g, shape, as<uint8_t>(tables), as<uint8_t>(indices), threads);
}

}  // namespace

void bind_affine(nb::module_& m) {
  m.def("affine_fit", &fit);
  m.def("affine_numbers", &numbers, nb::arg("words"), nb::arg("dtype"), nb::arg("geometry"), nb::arg("columns"),
        nb::arg("scales"), nb::arg("zeros"), nb::arg("most"), nb::arg("out"), nb::arg("negative").none(),
        nb::arg("threads"));
  m.def("affine_row_fields", &lines);
  m.def("affine_signs", &signs, nb::arg("numbers"), nb::arg("negative"), nb::arg("geometry"), nb::arg("columns"),
        nb::arg("zeros"), nb::arg("bytes"), nb::arg("directory").none(), nb::arg("out").none(), nb::arg("threads"));
  m.def("row_palette_entries", &entries);
  m.def("row_palette_encode", &encode_tables);
}
