// The formulation `row_palette`: borrow arrays, check their sizes, release the interpreter lock, call.
#include <memory>

#include "tersely/backends/cpu/bindings/lines.hpp"
#include "tersely/codes/row_palette/row_palette.hpp"

namespace {

// A view over components that the object keeps alive. coded: the indices as a matrix under `split`, or None where they
// are lines of `bits`.
class RowPaletteMatrix : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  RowPaletteMatrix(const OwnedGeometry& geometry, const std::string& dtype, int64_t columns, int entries, int bits,
                   nb::dict components, nb::object coded)
      : BorrowedMatrix(geometry, components), view_(std::make_unique<tersely::RowPaletteView>()), coded_(coded) {
    tersely::SplitView& words = view_->words;
    words.geometry = with_offsets(geometry_);
    words.parameters = {};
    words.parameters.dtype = wide_dtype(dtype);
    words.parameters.code = tersely::Code::kBitmap;
    words.streams = {};
    require(entries >= 1 && entries <= 256, "a table has 1 to 256 words");
    const int64_t group_chunks = group_chunks_of(words.geometry, columns);
    view_->tables = {words.parameters.dtype, borrow("tables"), entries, group_chunks,
                     groups_of(words.geometry, group_chunks)};
    require(static_cast<int64_t>(keep_.back().size()) >=
                words.geometry.panels * view_->tables.groups * 16 * entries * word_bytes_of(words.parameters.dtype),
            "the tables are too short");
    if (coded.is_none()) borrow("indices");
    indices_ = coded.is_none() ? numbers_in(words.geometry, keep_.back(), bits) : numbers_of(coded);
    view_->lines = indices_.lines;
    words.streams.tiles = indices_.tiles;  // chunks take no bytes of it: a segment is expanded before it is walked
    source_ = std::make_unique<tersely::TableWords>(words.geometry, view_->tables, *indices_.source);
    words.groups = source_.get();
  }
  RowPaletteMatrix(const RowPaletteMatrix&) = delete;

  const tersely::Geometry& geometry() const override { return view_->words.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_->words.parameters.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::decode_window(view_->words, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return source_->access(matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::pick_rows(view_->words, tersely::active_table(), wanted, count, out, threads);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    if (transposed) return tersely::linear_transposed(view_->words, tersely::active_table(), rows, threads);
    tersely::row_palette_linear(*view_, tersely::active_table(), rows, threads);
  }

 private:
  std::unique_ptr<tersely::RowPaletteView> view_;
  nb::object coded_;
  BorrowedNumbers indices_;
  std::unique_ptr<tersely::TableWords> source_;
};

int entries(Words words, const std::string& dtype, const OwnedGeometry& owned, int64_t columns, int most, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const tersely::DType kind = wide_dtype(dtype);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(kind) && most >= 1 && most <= 256,
          "words have the wrong size");
  const Computing unlocked;
  return tersely::row_palette_entries(static_cast<const uint8_t*>(words.data()), kind, g, group_chunks_of(g, columns),
                                      most, threads);
}

void encode(Words words, const std::string& dtype, const OwnedGeometry& owned, int64_t columns, int entries,
            MutableWords tables, MutableWords indices, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const tersely::DType kind = wide_dtype(dtype);
  tersely::RowTables shape{kind, nullptr, entries, group_chunks_of(g, columns), 0};
  shape.groups = groups_of(g, shape.group_chunks);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(kind) &&
              static_cast<int64_t>(indices.nbytes()) == g.elements && entries >= 1 && entries <= 256 &&
              static_cast<int64_t>(tables.nbytes()) == g.panels * shape.groups * 16 * entries * word_bytes_of(kind),
          "an array has the wrong size");
  const Computing unlocked;
  tersely::row_palette_encode(static_cast<const uint8_t*>(words.data()), g, shape, static_cast<uint8_t*>(tables.data()),
                              static_cast<uint8_t*>(indices.data()), threads);
}

}  // namespace

void bind_row_palette(nb::module_& m) {
  nb::class_<RowPaletteMatrix, tersely::CodedMatrix> matrix(m, "RowPaletteMatrix");
  matrix.def(nb::init<const OwnedGeometry&, const std::string&, int64_t, int, int, nb::dict, nb::object>(),
             nb::arg("geometry"), nb::arg("dtype"), nb::arg("columns"), nb::arg("entries"), nb::arg("bits"),
             nb::arg("components"), nb::arg("coded").none());
  bind_matrix(matrix);
  matrix.def("part", &no_part<RowPaletteMatrix>);
  m.def("row_palette_entries", &entries);
  m.def("row_palette_encode", &encode);
}
