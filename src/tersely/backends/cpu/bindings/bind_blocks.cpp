// The formulations `blocks` and `block_sparse`: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/base/dispatch.hpp"
#include "tersely/backends/cpu/bindings/matrix.hpp"
#include "tersely/codes/blocks/blocks.hpp"

namespace {

using tersely::BlockShape;

BlockShape shape_of(int shape) {
  require(shape >= 0 && shape <= 4, "there are five shapes of blocks");
  return static_cast<BlockShape>(shape);
}

// A view over components that the object keeps alive: `indices` and `table.bytes`, or `masks`, `directory` and
// `values.bytes`.
class BlockMatrix : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  BlockMatrix(const OwnedGeometry& geometry, const std::string& dtype, int shape, int64_t count, int bits,
              nb::dict components)
      : BorrowedMatrix(geometry, components) {
    view_ = {};
    view_.geometry = with_offsets(geometry_);
    view_.dtype = wide_dtype(dtype);
    view_.shape = shape_of(shape);
    view_.count = count;
    view_.bits = bits;
    require(count >= 0 && bits >= 0 && bits <= 16, "impossible numbers of blocks or bits");
    if (components.contains("indices")) {
      view_.indices = borrow("indices");
      view_.words = borrow("table.bytes");
      return;
    }
    view_.masks = borrow("masks");
    view_.directory = borrow_directory();
    view_.words = borrow("values.bytes");
  }

  const tersely::Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::blocks_decode_window(view_, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                                  threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::blocks_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::blocks_pick_rows(view_, tersely::active_table(), wanted, count, out, threads);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    (transposed ? tersely::blocks_linear_transposed : tersely::blocks_linear)(view_, tersely::active_table(), rows,
                                                                              threads);
  }

 private:
  tersely::BlockView view_;
};

void require_words(const Words& words, const tersely::Geometry& g, tersely::DType dtype) {
  require(static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(dtype), "words have the wrong size");
}

int64_t find(Words words, const OwnedGeometry& owned, const std::string& dtype, int shape, int64_t limit,
             MutableWords ids, MutableWords table) {
  const tersely::Geometry g = with_offsets(owned);
  const auto type = wide_dtype(dtype);
  const auto kind = shape_of(shape);
  require_words(words, g, type);
  const int64_t height = tersely::is_one_high(kind) ? 1 : 16;
  require(kind != BlockShape::kRow && limit >= 0 &&
              static_cast<int64_t>(ids.nbytes()) == g.panels * tersely::indices_per_panel(g, kind) * 4 &&
              static_cast<int64_t>(table.nbytes()) ==
                  limit * height * tersely::block_columns(g, kind) * word_bytes_of(type),
          "an array has the wrong size");
  const Computing unlocked;
  return tersely::blocks_find(static_cast<const uint8_t*>(words.data()), g, type, kind, limit,
                              static_cast<uint32_t*>(ids.data()), static_cast<uint8_t*>(table.data()));
}

void pack(Words ids, int bits, MutableBytes out) {
  const auto count = static_cast<int64_t>(ids.nbytes()) / 4;
  require(bits >= 0 && bits <= 16 && count % 8 == 0 && static_cast<int64_t>(out.nbytes()) >= count / 8 * bits,
          "an array has the wrong size");
  const Computing unlocked;
  tersely::blocks_pack(static_cast<const uint32_t*>(ids.data()), count, bits, out.data());
}

void masks(Words words, const OwnedGeometry& owned, const std::string& dtype, int shape, MutableBytes out,
           MutableWords counts, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const auto type = wide_dtype(dtype);
  const auto kind = shape_of(shape);
  require_words(words, g, type);
  require(!tersely::is_one_high(kind) &&
              static_cast<int64_t>(out.nbytes()) >= g.panels * tersely::mask_words(g, kind) * 8 &&
              static_cast<int64_t>(counts.nbytes()) == g.panels * 8,
          "an array has the wrong size");
  const Computing unlocked;
  tersely::block_masks(static_cast<const uint8_t*>(words.data()), g, type, kind, out.data(),
                       static_cast<uint64_t*>(counts.data()), threads);
}

void values(Words words, const OwnedGeometry& owned, const std::string& dtype, int shape, nb::dict components,
            int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const auto type = wide_dtype(dtype);
  const auto kind = shape_of(shape);
  require_words(words, g, type);
  auto mask = nb::cast<MutableBytes>(components["masks"]), directory = nb::cast<MutableBytes>(components["directory"]),
       out = nb::cast<MutableBytes>(components["values.bytes"]);
  const auto* starts = reinterpret_cast<const uint64_t*>(directory.data());
  require(static_cast<int64_t>(directory.nbytes()) >= (g.panels + 1) * 8 &&
              static_cast<int64_t>(mask.nbytes()) >= g.panels * tersely::mask_words(g, kind) * 8,
          "an array has the wrong size");
  const auto kept = static_cast<int64_t>(starts[g.panels]);
  const int64_t rows = kind == BlockShape::kRow ? (kept + 15) / 16 * 16 : kept * 16;
  require(static_cast<int64_t>(out.nbytes()) >= rows * tersely::block_columns(g, kind) * word_bytes_of(type),
          "an array has the wrong size");
  const Computing unlocked;
  tersely::block_values(static_cast<const uint8_t*>(words.data()), g, type, kind, mask.data(), starts, out.data(),
                        threads);
}

}  // namespace

void bind_blocks(nb::module_& m) {
  nb::class_<BlockMatrix, tersely::CodedMatrix> type(m, "BlockMatrix");
  type.def(nb::init<const OwnedGeometry&, const std::string&, int, int64_t, int, nb::dict>());
  type.def("part", &no_part<BlockMatrix>);
  bind_matrix(type);
  m.def("blocks_find", &find);
  m.def("blocks_pack", &pack);
  m.def("block_masks", &masks);
  m.def("block_values", &values);
}
