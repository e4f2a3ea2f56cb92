// The formulation `sparse`: borrow arrays, check their sizes, release the interpreter lock, call.
#include <cstring>

#include "tersely/backends/cpu/base/dispatch.hpp"
#include "tersely/backends/cpu/bindings/operands.hpp"
#include "tersely/backends/cpu/matrix/sources.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"
#include "tersely/codes/sparse/deltas.hpp"
#include "tersely/codes/sparse/elias_fano.hpp"

namespace {

using Starts = nb::ndarray<const uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Whole numbers of 8 bits are bytes of which all is symbol.
tersely::DType sparse_dtype(const std::string& name) {
  return name == "int8" || name == "uint8" ? tersely::DType::kIndex : wide_dtype(name);
}

void require_floats(tersely::DType dtype) {
  require(word_bytes_of(dtype) > 1, "whole numbers have no product of floats");
}

// The parameters of n_of_m. selections: the columns of each code, as bits.
struct Select {
  tersely::Parameters parameters{};
  Select(const std::string& dtype, int n, int m, int bits, int64_t panel_bytes, nb::bytes selections) {
    require(n > 0 && n < m && (m == 4 || m == 8) && bits > 0 && bits <= 8 && panel_bytes >= 0 &&
                selections.size() > 0 && selections.size() <= size_t{1} << bits,
            "n, m or selections out of range");
    parameters.dtype = wide_dtype(dtype);
    parameters.code = tersely::Code::kSelect;
    parameters.n = n;
    parameters.m = m;
    parameters.select_bits = bits;
    parameters.panel_bytes = panel_bytes;
    const auto* masks = reinterpret_cast<const uint8_t*>(selections.c_str());
    for (size_t code = 0; code < 256; ++code)
      parameters.selections[code] = masks[code < selections.size() ? code : selections.size() - 1];
  }
};

// A view over components that the object keeps alive, whose chunks are walked as those of split are.
class ChunkMatrix : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  const tersely::Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.parameters.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::decode_window(view_, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::pick_rows(view_, tersely::active_table(), wanted, count, out, threads);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    require_floats(view_.parameters.dtype);
    (transposed ? tersely::linear_transposed : tersely::linear)(view_, tersely::active_table(), rows, threads);
  }

 protected:
  // values: a ValueSource, or none where they lie in values.bytes as they are.
  ChunkMatrix(const OwnedGeometry& geometry, const tersely::Parameters& parameters, nb::dict components,
              nb::object values)
      : BorrowedMatrix(geometry, components), values_(values) {
    view_.geometry = with_offsets(geometry_);
    view_.parameters = parameters;
    view_.streams = {};
    view_.streams.directory_columns = 1;
    if (values.is_none()) {
      view_.streams.escapes = borrow("values.bytes");
    } else {
      view_.values = nb::cast<const tersely::ValueSource*>(values);
    }
  }
  nb::object values_;
  tersely::SplitView view_;
};

class BitmapMatrix : public ChunkMatrix {
 public:
  BitmapMatrix(const OwnedGeometry& geometry, const std::string& dtype, nb::dict components, nb::object values)
      : ChunkMatrix(geometry, bitmap_parameters(dtype), components, values) {
    view_.streams.tiles = borrow("masks");
    view_.streams.directory = borrow_directory();
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::bitmap_access(view_, matrix, row, column);
  }

 private:
  static tersely::Parameters bitmap_parameters(const std::string& dtype) {
    tersely::Parameters p{};
    p.dtype = sparse_dtype(dtype);
    p.code = tersely::Code::kBitmap;
    p.chunk_bytes[0] = p.chunk_bytes[1] = 8;
    return p;
  }
};

// A bitmap's chunks with Elias-Fano positions: starts has words of `upper` before each segment.
class EliasFanoMatrix : public ChunkMatrix {
 public:
  EliasFanoMatrix(const OwnedGeometry& geometry, const std::string& dtype, int low_bits, Starts starts,
                  nb::dict components, nb::object values)
      : ChunkMatrix(geometry, elias_fano_parameters(dtype), components, values),
        starts_(starts.data(), starts.data() + starts.size()),
        positions_({borrow("upper"), borrow("lower"), borrow_directory(), starts_.data(), low_bits}) {
    require(static_cast<int64_t>(starts_.size()) == view_.geometry.segments + 1 && low_bits >= 0 && low_bits <= 15,
            "starts have the wrong size");
    view_.streams.directory = reinterpret_cast<const uint64_t*>(keep_.back().data());
    view_.streams.tiles = keep_.back().data();  // never read: masks are expanded for each segment
    view_.masks = &positions_;
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::elias_fano_access(view_, positions_, matrix, row, column);
  }

 private:
  static tersely::Parameters elias_fano_parameters(const std::string& dtype) {
    tersely::Parameters p{};
    p.dtype = sparse_dtype(dtype);
    p.code = tersely::Code::kBitmap;
    return p;
  }

  std::vector<uint64_t> starts_;
  const tersely::EliasFano positions_;
};

// n_of_m, whose segments' values are counted from the shape: starts has values before each segment.
class SelectMatrix : public ChunkMatrix {
 public:
  SelectMatrix(const OwnedGeometry& geometry, const Select& select, Starts starts, nb::dict components,
               nb::object values)
      : ChunkMatrix(geometry, select.parameters, components, values),
        starts_(starts.data(), starts.data() + starts.size()) {
    require(static_cast<int64_t>(starts_.size()) == view_.geometry.segments + 1, "starts have the wrong size");
    view_.streams.tiles = borrow("codes");
    view_.streams.directory = starts_.data();
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::select_access(view_, matrix, row, column);
  }

 private:
  std::vector<uint64_t> starts_;
};

class DeltaMatrix : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  // values: as of ChunkMatrix.
  DeltaMatrix(const OwnedGeometry& geometry, const std::string& dtype, nb::dict components, nb::object values)
      : BorrowedMatrix(geometry, components), values_(values) {
    const bool plain = values.is_none();
    view_ = {with_offsets(geometry_),
             sparse_dtype(dtype),
             borrow("gaps"),
             plain ? borrow("values.bytes") : nullptr,
             borrow("rows"),
             borrow_directory(),
             plain ? nullptr : nb::cast<const tersely::ValueSource*>(values)};
    is_signed_ = dtype == "int8";
  }

  const tersely::Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::deltas_decode_window(view_, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                                  threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::deltas_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::deltas_pick_rows(view_, tersely::active_table(), wanted, count, out, threads);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    require_floats(view_.dtype);
    (transposed ? tersely::deltas_linear_transposed : tersely::deltas_linear)(view_, tersely::active_table(), rows,
                                                                              threads);
  }
  bool integer_linear(Words x, const std::string& dtype, Doubles scale, Whole zero, nb::object bias, MutableWords out,
                      int threads) const {
    const tersely::Geometry& g = view_.geometry;
    require(g.count == 1 && word_bytes() == 1, "a product needs a matrix of 8-bit weights");
    const Operands operands(g.rows, g.columns, x, dtype, scale, zero, bias, out);
    const Computing unlocked;
    return tersely::deltas_integer_linear(view_, is_signed_, tersely::active_table(), operands.rows, threads);
  }

 private:
  nb::object values_;
  tersely::DeltaView view_;
  bool is_signed_;
};

void statistics(Words words, const OwnedGeometry& owned, const std::string& dtype, MutableWords counts,
                MutableWords entries, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const auto type = sparse_dtype(dtype);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(type) &&
              static_cast<int64_t>(counts.nbytes()) == g.segments * 4 &&
              static_cast<int64_t>(entries.nbytes()) == g.panels * 64,
          "an array has the wrong size");
  const Computing unlocked;
  tersely::sparse_statistics(static_cast<const uint8_t*>(words.data()), g, type, static_cast<uint32_t*>(counts.data()),
                             static_cast<uint32_t*>(entries.data()), threads);
}

void encode_bitmap(Words words, const OwnedGeometry& owned, const std::string& dtype, nb::dict components,
                   int64_t granule, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const auto type = sparse_dtype(dtype);
  require(granule > 0 && static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(type),
          "words have the wrong size");
  auto masks = nb::cast<MutableBytes>(components["masks"]), values = nb::cast<MutableBytes>(components["values.bytes"]),
       directory = nb::cast<MutableBytes>(components["directory"]);
  bool same;
  {
    const Computing unlocked;
    same = tersely::bitmap_encode(static_cast<const uint8_t*>(words.data()), g, type,
                                  reinterpret_cast<const uint64_t*>(directory.data()), granule, masks.data(),
                                  values.data(), threads);
  }
  if (!same) throw std::runtime_error("the words changed while they were encoded");
}

bool encode_select(Words words, const OwnedGeometry& owned, const Select& select, Starts starts, int64_t granule,
                   MutableBytes codes, MutableWords values, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const tersely::Parameters& p = select.parameters;
  const int64_t bytes = word_bytes_of(p.dtype);
  require(granule > 0 && static_cast<int64_t>(words.nbytes()) == g.elements * bytes &&
              static_cast<int64_t>(starts.size()) == g.segments + 1 &&
              static_cast<int64_t>(codes.size()) >= g.panels * p.panel_bytes &&
              static_cast<int64_t>(values.nbytes()) == static_cast<int64_t>(starts.data()[g.segments]) * bytes,
          "an array has the wrong size");
  const Computing unlocked;
  return tersely::select_encode(static_cast<const uint8_t*>(words.data()), g, p, starts.data(), granule, codes.data(),
                                static_cast<uint8_t*>(values.data()), threads);
}

void encode_deltas(Words words, const OwnedGeometry& owned, const std::string& dtype, nb::dict components,
                   int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const auto type = sparse_dtype(dtype);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(type), "words have the wrong size");
  auto gaps = nb::cast<MutableBytes>(components["gaps"]), values = nb::cast<MutableBytes>(components["values.bytes"]),
       rows = nb::cast<MutableBytes>(components["rows"]), directory = nb::cast<MutableBytes>(components["directory"]);
  bool same;
  {
    const Computing unlocked;
    same = tersely::deltas_encode(static_cast<const uint8_t*>(words.data()), g, type,
                                  reinterpret_cast<const uint64_t*>(directory.data()), rows.data(), gaps.data(),
                                  values.data(), threads);
  }
  if (!same) throw std::runtime_error("the words changed while they were encoded");
}

}  // namespace

void bind_sparse(nb::module_& m) {
  nb::class_<BitmapMatrix, tersely::CodedMatrix> bitmap(m, "BitmapMatrix");
  bitmap.def(nb::init<const OwnedGeometry&, const std::string&, nb::dict, nb::object>(), nb::arg("geometry"),
             nb::arg("dtype"), nb::arg("components"), nb::arg("values").none());
  bind_matrix(bitmap);
  bitmap.def("part", &no_part<BitmapMatrix>);
  nb::class_<EliasFanoMatrix, tersely::CodedMatrix> elias_fano(m, "EliasFanoMatrix");
  elias_fano.def(nb::init<const OwnedGeometry&, const std::string&, int, Starts, nb::dict, nb::object>(),
                 nb::arg("geometry"), nb::arg("dtype"), nb::arg("low_bits"), nb::arg("starts"), nb::arg("components"),
                 nb::arg("values").none());
  bind_matrix(elias_fano);
  elias_fano.def("part", &no_part<EliasFanoMatrix>);
  nb::class_<Select>(m, "SelectParameters").def(nb::init<const std::string&, int, int, int, int64_t, nb::bytes>());
  nb::class_<SelectMatrix, tersely::CodedMatrix> select(m, "SelectMatrix");
  select.def(nb::init<const OwnedGeometry&, const Select&, Starts, nb::dict, nb::object>(), nb::arg("geometry"),
             nb::arg("select"), nb::arg("starts"), nb::arg("components"), nb::arg("values").none());
  bind_matrix(select);
  select.def("part", &no_part<SelectMatrix>);
  m.def("select_encode", &encode_select);
  nb::class_<DeltaMatrix, tersely::CodedMatrix> deltas(m, "DeltaMatrix");
  deltas.def(nb::init<const OwnedGeometry&, const std::string&, nb::dict, nb::object>(), nb::arg("geometry"),
             nb::arg("dtype"), nb::arg("components"), nb::arg("values").none());
  bind_matrix(deltas);
  deltas.def("part", &no_part<DeltaMatrix>);
  deltas.def("integer_linear", &DeltaMatrix::integer_linear, nb::arg("x"), nb::arg("dtype"), nb::arg("scale"),
             nb::arg("zero"), nb::arg("bias").none(), nb::arg("out"), nb::arg("threads"));
  m.def("sparse_statistics", &statistics);
  m.def("bitmap_encode", &encode_bitmap);
  m.def("deltas_encode", &encode_deltas);
}
