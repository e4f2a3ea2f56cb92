// The formulation `palette`: borrow arrays, check their sizes, release the interpreter lock, call.
#include <cstring>
#include <memory>
#include <stdexcept>

#include "tersely/backends/cpu/base/dispatch.hpp"
#include "tersely/backends/cpu/bindings/matrix.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"
#include "tersely/codes/palette/palette.hpp"
#include "tersely/codes/palette/values.hpp"

namespace {

// A view over components that the object keeps alive. index_parameters: None where indices are packed.
class PaletteMatrix : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  PaletteMatrix(const OwnedGeometry& geometry, const std::string& dtype, int entries, nb::object index_parameters,
                nb::dict components)
      : BorrowedMatrix(geometry, components), palette_(std::make_unique<tersely::Palette>()) {
    view_.geometry = with_offsets(geometry_);
    view_.parameters = {};
    view_.parameters.dtype = wide_dtype(dtype);
    view_.parameters.code = tersely::Code::kPalette;
    view_.streams = {};
    require(entries >= 1 && entries <= 256, "a palette has 1 to 256 words");
    const uint8_t* table = borrow("table");
    require(static_cast<int64_t>(keep_.back().size()) >= entries * word_bytes(), "the table is too short");
    tersely::make_palette(*palette_, view_.parameters.dtype, table, entries);
    view_.palette = palette_.get();
    int64_t chunk_bytes = 8 * palette_->index_bits;
    if (index_parameters.is_none()) {
      view_.streams.tiles = borrow("indices");
    } else {
      const auto& p = nb::cast<const tersely::Parameters&>(index_parameters);
      require(p.dtype == tersely::DType::kIndex && !p.has_short, "parameters of other things than indices");
      indices_ = std::make_unique<tersely::SplitView>();
      indices_->geometry = view_.geometry;
      indices_->parameters = p;
      tersely::Streams& s = indices_->streams;
      s = {};
      s.tiles = borrow("indices.tiles");
      if (p.code != tersely::Code::kConstant) {
        s.escapes = borrow("indices.escapes");
        s.directory = borrow_directory("indices.directory");
        s.directory_columns = p.code == tersely::Code::kPacked ? 1 : p.levels;
        for (int level = 1; level < p.levels; ++level)
          s.levels[level] = borrow(("indices.level" + std::to_string(level + 1)).c_str());
      }
      view_.streams.tiles = s.tiles;
      view_.indices = indices_.get();
      chunk_bytes = p.chunk_bytes[0];
    }
    view_.parameters.chunk_bytes[0] = view_.parameters.chunk_bytes[1] = chunk_bytes;
  }

  const tersely::Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.parameters.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::decode_window(view_, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::palette_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::pick_rows(view_, tersely::active_table(), wanted, count, out, threads);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    (transposed ? tersely::linear_transposed : tersely::linear)(view_, tersely::active_table(), rows, threads);
  }

 private:
  std::unique_ptr<tersely::Palette> palette_;
  std::unique_ptr<tersely::SplitView> indices_;
  tersely::SplitView view_;
};

// Values of a sparse matrix. packed: the component of low_bits packed bits of each index, '' for none; high: the coded
// rest, or none. Built from components that have passed `validate` in Python.
class PaletteValuesMatrix : public tersely::PaletteValues {
 public:
  PaletteValuesMatrix(const std::string& dtype, int entries, const std::string& packed, int low_bits,
                      nb::dict components, nb::object high)
      : PaletteValuesMatrix(wide_dtype(dtype), entries, low_bits, borrow(components, "table"),
                            packed.empty() ? Bytes() : borrow(components, packed), high, components) {}

 private:
  PaletteValuesMatrix(tersely::DType dtype, int entries, int low_bits, Bytes table, Bytes packed, nb::object high,
                      nb::dict components)
      : PaletteValues(dtype, checked(table, dtype, entries), entries, packed.data(), low_bits, index_values(high)),
        components_(components),
        high_(high),
        keep_{table, packed} {
    require(low_bits >= 0 && low_bits <= 8 && (low_bits == 0) == (packed.data() == nullptr) &&
                (low_bits < 8 || high.is_none()),
            "low bits and their component do not fit");
  }
  static Bytes borrow(const nb::dict& components, const std::string& name) {
    return nb::cast<Bytes>(components[name.c_str()]);
  }
  static const uint8_t* checked(const Bytes& table, tersely::DType dtype, int entries) {
    require(entries >= 1 && entries <= 256 && static_cast<int64_t>(table.size()) >= entries * word_bytes_of(dtype),
            "a palette has 1 to 256 words");
    return table.data();
  }
  static const tersely::SplitValues* index_values(const nb::object& high) {
    if (high.is_none()) return nullptr;
    const auto* found = dynamic_cast<const tersely::SplitValues*>(nb::cast<const tersely::ValueSource*>(high));
    require(found != nullptr && found->parameters().dtype == tersely::DType::kIndex, "these values are no indices");
    return found;
  }

  nb::dict components_;
  nb::object high_;
  std::vector<Bytes> keep_;
};

// Fills found [256] and counts [256]; returns how many distinct words there are, -1 for more than 256.
int count(Words words, int word_bytes, MutableWords found, MutableWords counts, int threads) {
  require((word_bytes == 2 || word_bytes == 4) && found.nbytes() == 1024 && counts.nbytes() == 2048,
          "an array has the wrong size");
  const Computing unlocked;
  return tersely::palette_count(static_cast<const uint8_t*>(words.data()),
                                static_cast<int64_t>(words.nbytes()) / word_bytes, word_bytes,
                                static_cast<uint32_t*>(found.data()), static_cast<uint64_t*>(counts.data()), threads);
}

void indices(Words words, int word_bytes, Words table, MutableWords out, int threads) {
  const auto count = static_cast<int64_t>(words.nbytes()) / word_bytes;
  require((word_bytes == 2 || word_bytes == 4) && table.nbytes() <= 1024 && static_cast<int64_t>(out.nbytes()) == count,
          "an array has the wrong size");
  bool same;
  {
    const Computing unlocked;
    same = tersely::palette_indices(static_cast<const uint8_t*>(words.data()), count, word_bytes,
                                    static_cast<const uint32_t*>(table.data()), static_cast<int>(table.nbytes() / 4),
                                    static_cast<uint8_t*>(out.data()), threads);
  }
  if (!same) throw std::runtime_error("the words changed while they were encoded");
}

void pack(Words indices, const OwnedGeometry& owned, int bits, MutableBytes out, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  require(bits >= 1 && bits <= 8 && static_cast<int64_t>(indices.nbytes()) == g.elements &&
              static_cast<int64_t>(out.size()) >= g.panels * g.chunks_per_panel * 8 * bits,
          "an array has the wrong size");
  const Computing unlocked;
  tersely::palette_pack(static_cast<const uint8_t*>(indices.data()), g, bits, out.data(), threads);
}

void pack_groups(Words indices, int bits, MutableBytes out, int threads) {
  const auto groups = static_cast<int64_t>(indices.nbytes()) / tersely::kChunkWeights;
  require(bits >= 1 && bits <= 8 && groups * tersely::kChunkWeights == static_cast<int64_t>(indices.nbytes()) &&
              static_cast<int64_t>(out.size()) >= groups * 8 * bits,
          "an array has the wrong size");
  const Computing unlocked;
  tersely::pack_groups(static_cast<const uint8_t*>(indices.data()), groups, bits, out.data(), threads);
}

}  // namespace

void bind_palette(nb::module_& m) {
  nb::class_<PaletteMatrix, tersely::CodedMatrix> matrix(m, "PaletteMatrix");
  matrix.def(nb::init<const OwnedGeometry&, const std::string&, int, nb::object, nb::dict>(), nb::arg("geometry"),
             nb::arg("dtype"), nb::arg("entries"), nb::arg("index_parameters").none(), nb::arg("components"));
  bind_matrix(matrix);
  matrix.def("part", &no_part<PaletteMatrix>);
  nb::class_<PaletteValuesMatrix, tersely::ValueSource>(m, "PaletteValues")
      .def(nb::init<const std::string&, int, const std::string&, int, nb::dict, nb::object>(), nb::arg("dtype"),
           nb::arg("entries"), nb::arg("packed"), nb::arg("low_bits"), nb::arg("components"), nb::arg("high").none());
  m.def("palette_count", &count);
  m.def("palette_indices", &indices);
  m.def("palette_pack", &pack);
  m.def("palette_pack_groups", &pack_groups);
}
