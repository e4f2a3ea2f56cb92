// The formulation `sparse`: borrow arrays, check their sizes, release the interpreter lock, call.
#include <cstring>

#include "laconic/base/dispatch.hpp"
#include "laconic/bindings/matrix.hpp"
#include "laconic/formulations/sparse/deltas.hpp"
#include "laconic/formulations/split/walk.hpp"

namespace {

laconic::DType sparse_dtype(const std::string& name) {
  const laconic::DType dtype = dtype_of(name);
  require(laconic::kFields[static_cast<int>(dtype)].word_bytes > 1, "sparse codes words of 16 and 32 bits");
  return dtype;
}

laconic::Geometry with_offsets(const OwnedGeometry& owned) {
  laconic::Geometry g = owned.geometry;
  g.column_offsets = owned.offsets.empty() ? nullptr : owned.offsets.data();
  return g;
}

// A view over components that the object keeps alive.
class BitmapMatrix {
 public:
  BitmapMatrix(const OwnedGeometry& geometry, const std::string& dtype, nb::dict components)
      : geometry_(geometry), components_(components) {
    view_.geometry = with_offsets(geometry_);
    view_.parameters = {};
    view_.parameters.dtype = sparse_dtype(dtype);
    view_.parameters.code = laconic::Code::kBitmap;
    view_.parameters.chunk_bytes[0] = view_.parameters.chunk_bytes[1] = 8;
    view_.streams = {};
    view_.streams.tiles = borrow("masks");
    view_.streams.escapes = borrow("values.bytes");
    view_.streams.directory = reinterpret_cast<const uint64_t*>(borrow("directory"));
    view_.streams.directory_columns = 1;
    require(reinterpret_cast<uintptr_t>(view_.streams.directory) % 8 == 0, "the directory is not aligned to 8 bytes");
  }

  const laconic::Geometry& geometry() const { return view_.geometry; }
  int64_t word_bytes() const { return laconic::kFields[static_cast<int>(view_.parameters.dtype)].word_bytes; }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const {
    laconic::decode_window(view_, laconic::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const {
    return laconic::bitmap_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const {
    return laconic::pick_rows(view_, laconic::active_table(), wanted, count, out, threads);
  }
  void multiply(const laconic::Rows& rows, int threads, bool transposed) const {
    (transposed ? laconic::linear_transposed : laconic::linear)(view_, laconic::active_table(), rows, threads);
  }

 private:
  const uint8_t* borrow(const char* name) {
    keep_.push_back(nb::cast<Bytes>(components_[name]));
    return keep_.back().data();
  }

  OwnedGeometry geometry_;
  nb::dict components_;
  std::vector<Bytes> keep_;
  laconic::SplitView view_;
};

class DeltaMatrix {
 public:
  DeltaMatrix(const OwnedGeometry& geometry, const std::string& dtype, nb::dict components)
      : geometry_(geometry), components_(components) {
    view_ = {with_offsets(geometry_), sparse_dtype(dtype), borrow("gaps"),
             borrow("values.bytes"),  borrow("rows"),      reinterpret_cast<const uint64_t*>(borrow("directory"))};
    require(reinterpret_cast<uintptr_t>(view_.directory) % 8 == 0, "the directory is not aligned to 8 bytes");
  }

  const laconic::Geometry& geometry() const { return view_.geometry; }
  int64_t word_bytes() const { return laconic::kFields[static_cast<int>(view_.dtype)].word_bytes; }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const {
    laconic::deltas_decode_window(view_, first_panel, last_panel, first_element, elements, out, threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const {
    return laconic::deltas_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const {
    return laconic::deltas_pick_rows(view_, wanted, count, out, threads);
  }
  void multiply(const laconic::Rows& rows, int threads, bool transposed) const {
    (transposed ? laconic::deltas_linear_transposed : laconic::deltas_linear)(view_, laconic::active_table(), rows,
                                                                              threads);
  }

 private:
  const uint8_t* borrow(const char* name) {
    keep_.push_back(nb::cast<Bytes>(components_[name]));
    return keep_.back().data();
  }

  OwnedGeometry geometry_;
  nb::dict components_;
  std::vector<Bytes> keep_;
  laconic::DeltaView view_;
};

// Parts of a sparse matrix have no kernels of their own: callers decode them.
template <class M>
nb::object no_part(const M&, int64_t, int64_t, int64_t) {
  return nb::none();
}

void statistics(Words words, const OwnedGeometry& owned, const std::string& dtype, MutableWords counts,
                MutableWords entries, int threads) {
  const laconic::Geometry g = with_offsets(owned);
  const auto type = sparse_dtype(dtype);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * laconic::kFields[static_cast<int>(type)].word_bytes &&
              static_cast<int64_t>(counts.nbytes()) == g.segments * 4 &&
              static_cast<int64_t>(entries.nbytes()) == g.panels * 64,
          "an array has the wrong size");
  nb::gil_scoped_release unlocked;
  laconic::sparse_statistics(static_cast<const uint8_t*>(words.data()), g, type, static_cast<uint32_t*>(counts.data()),
                             static_cast<uint32_t*>(entries.data()), threads);
}

void encode_bitmap(Words words, const OwnedGeometry& owned, const std::string& dtype, nb::dict components,
                   int threads) {
  const laconic::Geometry g = with_offsets(owned);
  const auto type = sparse_dtype(dtype);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * laconic::kFields[static_cast<int>(type)].word_bytes,
          "words have the wrong size");
  auto masks = nb::cast<MutableBytes>(components["masks"]), values = nb::cast<MutableBytes>(components["values.bytes"]),
       directory = nb::cast<MutableBytes>(components["directory"]);
  bool same;
  {
    nb::gil_scoped_release unlocked;
    same = laconic::bitmap_encode(static_cast<const uint8_t*>(words.data()), g, type,
                                  reinterpret_cast<const uint64_t*>(directory.data()), masks.data(), values.data(),
                                  threads);
  }
  if (!same) throw std::runtime_error("the words changed while they were encoded");
}

void encode_deltas(Words words, const OwnedGeometry& owned, const std::string& dtype, nb::dict components,
                   int threads) {
  const laconic::Geometry g = with_offsets(owned);
  const auto type = sparse_dtype(dtype);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * laconic::kFields[static_cast<int>(type)].word_bytes,
          "words have the wrong size");
  auto gaps = nb::cast<MutableBytes>(components["gaps"]), values = nb::cast<MutableBytes>(components["values.bytes"]),
       rows = nb::cast<MutableBytes>(components["rows"]), directory = nb::cast<MutableBytes>(components["directory"]);
  bool same;
  {
    nb::gil_scoped_release unlocked;
    same = laconic::deltas_encode(static_cast<const uint8_t*>(words.data()), g, type,
                                  reinterpret_cast<const uint64_t*>(directory.data()), rows.data(), gaps.data(),
                                  values.data(), threads);
  }
  if (!same) throw std::runtime_error("the words changed while they were encoded");
}

}  // namespace

void bind_sparse(nb::module_& m) {
  nb::class_<BitmapMatrix> bitmap(m, "BitmapMatrix");
  bitmap.def(nb::init<const OwnedGeometry&, const std::string&, nb::dict>());
  bind_matrix(bitmap);
  bitmap.def("part", &no_part<BitmapMatrix>);
  nb::class_<DeltaMatrix> deltas(m, "DeltaMatrix");
  deltas.def(nb::init<const OwnedGeometry&, const std::string&, nb::dict>());
  bind_matrix(deltas);
  deltas.def("part", &no_part<DeltaMatrix>);
  m.def("sparse_statistics", &statistics);
  m.def("bitmap_encode", &encode_bitmap);
  m.def("deltas_encode", &encode_deltas);
}
