// The formulation `submatrix`: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/bindings/matrix.hpp"
#include "tersely/codes/submatrix/submatrix.hpp"

namespace {

// A view over components and a coded matrix that the object keeps alive.
class SubMatrix final : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  SubMatrix(const OwnedGeometry& geometry, nb::dict components, nb::object kept)
      : BorrowedMatrix(geometry, components), kept_(kept) {
    view_.geometry = with_offsets(geometry_);
    view_.kept = nb::cast<const tersely::CodedMatrix*>(kept);
    const tersely::Geometry& own = view_.kept->geometry();
    require(view_.geometry.count == 1 && own.count == 1 && own.row_stride == own.columns && own.column_stride == 1 &&
                own.column_offsets == nullptr && own.elements == own.rows * own.columns,
            "what is kept is a matrix that is stored by rows");
    rows_ = places("rows", view_.geometry.rows, own.rows);
    columns_ = places("columns", view_.geometry.columns, own.columns);
    view_.rows = rows_.data();
    view_.columns = columns_.data();
  }
  SubMatrix(const SubMatrix&) = delete;

  const tersely::Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return view_.kept->word_bytes(); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::submatrix_decode_window(view_, first_panel, last_panel, first_element, elements, out, threads);
  }
  uint32_t access(int64_t, int64_t row, int64_t column) const override {
    return tersely::submatrix_access(view_, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::submatrix_pick_rows(view_, wanted, count, out, threads);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    tersely::submatrix_linear(view_, rows, threads, transposed);
  }

 private:
  // The places of a component's bits, which are `expected` ones among `all`.
  std::vector<int64_t> places(const char* name, int64_t all, int64_t expected) {
    const uint8_t* bits = borrow(name);
    require(static_cast<int64_t>(keep_.back().size()) * 8 >= all, "a bitmap is too short");
    std::vector<int64_t> found;
    found.reserve(static_cast<size_t>(expected));
    for (int64_t place = 0; place < all; ++place)
      if (bits[place / 8] >> place % 8 & 1) found.push_back(place);
    require(static_cast<int64_t>(found.size()) == expected, "a bitmap keeps another number of places");
    return found;
  }

  nb::object kept_;
  tersely::SubmatrixView view_{};
  std::vector<int64_t> rows_, columns_;
};

}  // namespace

void bind_submatrix(nb::module_& m) {
  nb::class_<SubMatrix, tersely::CodedMatrix> matrix(m, "SubMatrix");
  matrix.def(nb::init<const OwnedGeometry&, nb::dict, nb::object>(), nb::arg("geometry"), nb::arg("components"),
             nb::arg("kept"));
  bind_matrix(matrix);
  matrix.def("part", &no_part<SubMatrix>);
}
