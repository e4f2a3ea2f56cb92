// Palettes whose words are a grid: borrow arrays, check their sizes, release the interpreter lock, call.
#include <memory>

#include "tersely/backends/cpu/bindings/matrix.hpp"
#include "tersely/codes/palette/grid.hpp"
#include "tersely/codes/palette/palette.hpp"

namespace {

// A view over components that the object keeps alive: a table, and the numbers as `integer` of uint8.
class GridMatrix : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  GridMatrix(const OwnedGeometry& geometry, const std::string& dtype, int entries, double scale, int32_t zero,
             nb::dict components)
      : BorrowedMatrix(geometry, components),
        palette_(std::make_unique<tersely::Palette>()),
        view_(std::make_unique<tersely::GridView>()) {
    tersely::IntegerView& numbers = view_->numbers;
    numbers = {};
    numbers.geometry = with_offsets(geometry_);
    numbers.fields = borrow("indices.fields");
    numbers.groups = borrow("indices.groups");
    numbers.places = borrow("indices.places");
    numbers.escapes = borrow("indices.escapes");
    numbers.directory = borrow_directory("indices.directory");
    starts_ = tersely::field_starts(numbers.geometry, numbers.groups);
    numbers.starts = starts_.data();
    held_ = std::make_unique<tersely::GridIndices>(numbers);
    tersely::SplitView& words = view_->words;
    words.geometry = numbers.geometry;
    words.parameters = {};
    words.parameters.dtype = wide_dtype(dtype);
    words.parameters.code = tersely::Code::kPalette;
    words.streams = {};
    words.streams.tiles = numbers.fields;  // chunks take no bytes of it: a segment is expanded before it is walked
    require(entries >= 1 && entries <= 256, "a palette has 1 to 256 words");
    const uint8_t* table = borrow("table");
    require(static_cast<int64_t>(keep_.back().size()) >= entries * word_bytes(), "the table is too short");
    tersely::make_palette(*palette_, words.parameters.dtype, table, entries);
    words.palette = palette_.get();
    words.held = held_.get();
    view_->scale = scale;
    view_->zero = zero;
  }

  const tersely::Geometry& geometry() const override { return view_->words.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_->words.parameters.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::decode_window(view_->words, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::palette_access(view_->words, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::pick_rows(view_->words, tersely::active_table(), wanted, count, out, threads);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    if (transposed) return tersely::linear_transposed(view_->words, tersely::active_table(), rows, threads);
    tersely::grid_linear(*view_, tersely::active_table(), rows, threads);
  }

 private:
  std::unique_ptr<tersely::Palette> palette_;
  std::unique_ptr<tersely::GridView> view_;
  std::unique_ptr<tersely::GridIndices> held_;
  std::vector<int64_t> starts_;
};

}  // namespace

void bind_grid(nb::module_& m) {
  nb::class_<GridMatrix, tersely::CodedMatrix> matrix(m, "GridMatrix");
  matrix.def(nb::init<const OwnedGeometry&, const std::string&, int, double, int32_t, nb::dict>(), nb::arg("geometry"),
             nb::arg("dtype"), nb::arg("entries"), nb::arg("scale"), nb::arg("zero"), nb::arg("components"));
  bind_matrix(matrix);
  matrix.def("part", &no_part<GridMatrix>);
}
