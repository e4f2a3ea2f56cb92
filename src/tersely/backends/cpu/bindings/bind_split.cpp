// The formulation `split`: borrow arrays, check their sizes, release the interpreter lock, call.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <cstring>
#include <stdexcept>
#include <tuple>

#include "tersely/backends/cpu/base/dispatch.hpp"
#include "tersely/backends/cpu/bindings/split_matrix.hpp"
#include "tersely/codes/split/sequence.hpp"

using tersely::Parameters;

tersely::DType dtype_of(const std::string& name) {
  constexpr const char* kNames[] = {"float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "index"};
  for (int i = 0; i < 6; ++i)
    if (name == kNames[i]) return static_cast<tersely::DType>(i);
  throw std::invalid_argument("no native operators for dtype " + name);
}

namespace {

Parameters make_parameters(const std::string& dtype, int code, const std::vector<int>& widths, nb::bytes table,
                           int byte, int tail, int short_tail) {
  Parameters p{};
  p.dtype = dtype_of(dtype);
  require(code >= 0 && code <= 2 && tail >= 0 && tail <= 2 && short_tail < tail, "code or tail out of range");
  require(widths.size() <= tersely::kMaximumLevels, "too many levels");
  require((code == 2) == !widths.empty(), "widths do not fit the code");
  p.code = static_cast<tersely::Code>(code);
  p.tail = static_cast<tersely::Tail>(tail);
  p.has_short = short_tail >= 0;
  p.short_tail = static_cast<tersely::Tail>(p.has_short ? short_tail : tail);
  p.byte_is_constant = byte >= 0;
  p.byte = static_cast<uint8_t>(p.byte_is_constant ? byte : 0);
  p.levels = static_cast<int>(widths.size());
  p.code_bytes = code == 0 ? 0 : code == 1 ? 32 : 8 * widths[0];
  const auto* symbols = reinterpret_cast<const uint8_t*>(table.c_str());
  size_t at = 0;
  const int tables = code == 2 ? p.levels : 1;
  for (int level = 0; level < tables; ++level) {
    size_t own = code == 0 ? 1 : 15;
    if (code == 2) {
      require(widths[level] >= 1 && widths[level] <= tersely::kMaximumWidth, "width out of range");
      p.widths[level] = widths[level];
      own = (size_t{1} << widths[level]) - 1;
    }
    require(at + own <= table.size(), "table too short");
    std::memcpy(p.tables[level], symbols + at, own);
    at += own;
  }
  require(at == table.size(), "table too long");
  const tersely::Fields& f = tersely::kFields[static_cast<int>(p.dtype)];
  const int64_t fixed = p.code_bytes + 8 * f.odd_count + (f.has_byte && !p.byte_is_constant ? 64 : 0);
  p.chunk_bytes[0] = fixed + tersely::kTailBytes[static_cast<int>(p.tail)];
  p.chunk_bytes[1] = fixed + tersely::kTailBytes[static_cast<int>(p.short_tail)];
  return p;
}

// One matrix of a stack, or rows [first, last) of a matrix that is stored by rows; null where they are not whole units.
std::unique_ptr<SplitMatrix> part(const SplitMatrix& whole, int64_t matrix, int64_t first, int64_t last) {
  const tersely::Geometry& g = whole.view().geometry;
  require(matrix >= 0 && matrix < g.count && first >= 0 && first < last && last <= g.rows, "part out of range");
  const int64_t unit = tersely::kPanelRows * g.panels_per_unit;
  const bool all = first == 0 && last == g.rows;
  if (g.column_offsets != nullptr ||
      (!all && (g.column_stride != 1 || first % unit || (last % unit && last != g.rows))))
    return nullptr;
  return std::make_unique<SplitMatrix>(whole, matrix * g.panels_per_matrix + first / tersely::kPanelRows, last - first);
}

// Values of a sparse matrix, coded; built from components that have passed `validate` in Python.
class SplitValuesMatrix : public tersely::SplitValues {
 public:
  SplitValuesMatrix(const Parameters& parameters, nb::dict components)
      : SplitValuesMatrix(parameters, components, borrow_streams(parameters, components)) {}

 private:
  struct Borrowed {
    tersely::Streams streams;
    std::vector<Bytes> keep;
  };
  static Borrowed borrow_streams(const Parameters& p, nb::dict components) {
    Borrowed found{};
    const auto borrow = [&](const std::string& name) {
      found.keep.push_back(nb::cast<Bytes>(components[name.c_str()]));
      return found.keep.back().data();
    };
    found.streams.tiles = borrow("tiles");
    if (p.code == tersely::Code::kConstant) return found;
    found.streams.escapes = borrow("escapes");
    const uint8_t* directory = borrow("directory");
    require(reinterpret_cast<uintptr_t>(directory) % 8 == 0, "the directory is not aligned to 8 bytes");
    found.streams.directory = reinterpret_cast<const uint64_t*>(directory);
    found.streams.directory_columns = p.code == tersely::Code::kPacked ? 1 : p.levels;
    for (int level = 1; level < p.levels; ++level)
      found.streams.levels[level] = borrow("level" + std::to_string(level + 1));
    return found;
  }
  SplitValuesMatrix(const Parameters& parameters, nb::dict components, Borrowed borrowed)
      : SplitValues(tersely::SplitView{{}, parameters, borrowed.streams}),
        components_(components),
        keep_(std::move(borrowed.keep)) {}

  nb::dict components_;
  std::vector<Bytes> keep_;
};

std::tuple<nb::object, nb::object, nb::object> statistics(Words words, const OwnedGeometry& owned,
                                                          const std::string& dtype, MutableWords histograms,
                                                          MutableBytes tail_kinds, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  const auto type = dtype_of(dtype);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * tersely::kFields[static_cast<int>(type)].word_bytes &&
              static_cast<int64_t>(histograms.nbytes()) == g.segments * 1024 &&
              static_cast<int64_t>(tail_kinds.size()) == g.panels,
          "an array has the wrong size");
  int byte;
  {
    const Computing unlocked;
    byte = tersely::split_statistics(static_cast<const uint8_t*>(words.data()), g, type,
                                     static_cast<uint32_t*>(histograms.data()), tail_kinds.data(),
                                     tersely::active_table(), threads);
  }
  return {nb::cast(histograms), nb::cast(tail_kinds), byte < 0 ? nb::none() : nb::cast(byte)};
}

tersely::MutableStreams mutable_streams(const Parameters& p, nb::dict components, std::vector<MutableBytes>& keep) {
  const auto borrow = [&](const std::string& name) {
    keep.push_back(nb::cast<MutableBytes>(components[name.c_str()]));
    return keep.back().data();
  };
  tersely::MutableStreams s{};
  s.tiles = borrow("tiles");
  if (p.has_short) s.short_panels = borrow("short_panels");
  if (p.code != tersely::Code::kConstant) {
    s.directory = reinterpret_cast<uint64_t*>(borrow("directory"));
    s.escapes = borrow("escapes");
    for (int level = 1; level < p.levels; ++level) s.levels[level] = borrow("level" + std::to_string(level + 1));
  }
  return s;
}

void encode(Words words, const OwnedGeometry& owned, const Parameters& p, nb::dict components, int threads) {
  const tersely::Geometry g = with_offsets(owned);
  require(static_cast<int64_t>(words.nbytes()) == g.elements * word_bytes_of(p.dtype), "words have the wrong size");
  std::vector<MutableBytes> keep;
  tersely::MutableStreams s = mutable_streams(p, components, keep);
  std::vector<uint32_t> ranks;
  if (p.has_short) {
    ranks = short_ranks(s.short_panels, keep[1].size());
    s.short_rank = ranks.data();
  }
  const char* wrong;
  {
    const Computing unlocked;
    wrong = tersely::split_encode(static_cast<const uint8_t*>(words.data()), g, p, s, tersely::active_table(), threads);
  }
  if (wrong != nullptr) throw std::runtime_error(std::string("the words changed while they were encoded: ") + wrong);
}

using Starts = nb::ndarray<const uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void check_sequence(const Words& words, const Starts& starts, int64_t word_bytes) {
  require(starts.size() >= 1 && starts.data()[0] == 0, "a sequence begins with group 0");
  for (size_t i = 1; i < starts.size(); ++i) {
    const uint64_t groups = starts.data()[i] - starts.data()[i - 1];  // wraps where entries fall: then over the limit
    require(groups <= tersely::kSegmentChunks, "a segment has too many groups");
  }
  const auto groups = static_cast<int64_t>(starts.data()[starts.size() - 1]);
  require(static_cast<int64_t>(words.nbytes()) == groups * tersely::kChunkWeights * word_bytes,
          "words have the wrong size");
}

std::tuple<int, int> values_statistics(Words words, Starts starts, const std::string& dtype, MutableWords histograms,
                                       int threads) {
  const auto type = dtype_of(dtype);
  const auto segments = static_cast<int64_t>(starts.size()) - 1;
  check_sequence(words, starts, tersely::kFields[static_cast<int>(type)].word_bytes);
  require(static_cast<int64_t>(histograms.nbytes()) == segments * 1024, "an array has the wrong size");
  const Computing unlocked;
  const auto found =
      tersely::sequence_statistics(static_cast<const uint8_t*>(words.data()), starts.data(), segments, type,
                                   static_cast<uint32_t*>(histograms.data()), tersely::active_table(), threads);
  return {found.byte, found.tail};
}

void encode_values(Words words, Starts starts, const Parameters& p, nb::dict components, int threads) {
  check_sequence(words, starts, word_bytes_of(p.dtype));
  require(!p.has_short, "a sequence has one tail");
  std::vector<MutableBytes> keep;
  const tersely::MutableStreams s = mutable_streams(p, components, keep);
  const char* wrong;
  {
    const Computing unlocked;
    wrong = tersely::sequence_encode(static_cast<const uint8_t*>(words.data()), starts.data(),
                                     static_cast<int64_t>(starts.size()) - 1, p, s, tersely::active_table(), threads);
  }
  if (wrong != nullptr) throw std::runtime_error(std::string("the values changed while they were encoded: ") + wrong);
}

}  // namespace

void bind_split(nb::module_& m) {
  nb::class_<OwnedGeometry>(m, "Geometry")
      .def(
          "__init__",
          [](OwnedGeometry* self, int64_t elements, int64_t count, int64_t rows, int64_t columns, int64_t matrix_stride,
             int64_t row_stride, int64_t column_stride, nb::object offsets) {
            new (self) OwnedGeometry{};
            self->geometry = {
                elements, count, rows, columns, matrix_stride, row_stride, column_stride, nullptr, 0, 0, 0, 0,
                0,        0,     0,    0};
            tersely::derive(self->geometry);
            if (!offsets.is_none()) {
              auto array = nb::cast<nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>>(offsets);
              require(static_cast<int64_t>(array.size()) == columns, "column offsets have the wrong size");
              self->offsets.assign(array.data(), array.data() + array.size());
            }
          },
          nb::arg("elements"), nb::arg("count"), nb::arg("rows"), nb::arg("columns"), nb::arg("matrix_stride"),
          nb::arg("row_stride"), nb::arg("column_stride"), nb::arg("offsets").none());
  nb::class_<Parameters>(m, "SplitParameters")
      .def("__init__", [](Parameters* self, const std::string& dtype, int code, const std::vector<int>& widths,
                          nb::bytes table, int byte, int tail, int short_tail) {
        new (self) Parameters(make_parameters(dtype, code, widths, table, byte, tail, short_tail));
      });
  nb::class_<SplitMatrix, tersely::CodedMatrix> matrix(m, "SplitMatrix");
  matrix.def(nb::init<const OwnedGeometry&, const Parameters&, nb::dict>());
  bind_matrix(matrix);
  matrix.def("part", &part);
  nb::class_<tersely::ValueSource>(m, "ValueSource");
  nb::class_<SplitValuesMatrix, tersely::ValueSource>(m, "SplitValues").def(nb::init<const Parameters&, nb::dict>());
  m.def("split_values_statistics", &values_statistics);
  m.def("split_values_encode", &encode_values);
  m.def("split_statistics", &statistics);
  m.def("split_encode", &encode);
}
