// The encoders of `split`: borrow arrays, check their sizes, release the interpreter lock, call.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/codes/words/split/sequence.hpp"
#include "tersely/codes/words/split/split_source.hpp"

namespace {

using tersely::Parameters;
using tersely::Seen;

// The constant value of the byte plane, or None.
nb::object statistics(Words words, const Seen& seen, const std::string& dtype, MutableWords histograms,
                      MutableBytes tail_kinds, int threads) {
  const tersely::Geometry& g = seen.geometry;
  const tersely::DType type = tersely::dtype_of(dtype);
  const uint8_t* from = words_of(words, g, type);
  require_size(static_cast<int64_t>(histograms.nbytes()) == g.segments * 1024 &&
               static_cast<int64_t>(tail_kinds.size()) == g.panels);
  int byte;
  {
    const Computing unlocked;
    byte = tersely::split_statistics(from, g, type, as<uint32_t>(histograms), tail_kinds.data(),
                                     tersely::active_table(), threads);
  }
  return byte < 0 ? nb::none() : nb::cast(byte);
}

// Where encoders write, which check sizes against what they have themselves. parts: entries of the directory are for.
tersely::MutableStreams mutable_streams(const Parameters& p, const nb::dict& components, int64_t parts) {
  tersely::MutableStreams s{};
  s.tiles = component(components, "tiles", 0);
  if (p.code == tersely::SymbolCode::kConstant) return s;
  const int columns = p.code == tersely::SymbolCode::kPacked ? 1 : p.levels;
  s.directory = reinterpret_cast<uint64_t*>(component(components, "directory", (parts + 1) * columns * 8));
  const uint64_t* ends = s.directory + parts * columns;
  s.escapes = component(components, "escapes", static_cast<int64_t>(ends[columns - 1]));
  for (int level = 1; level < p.levels; ++level)
    s.levels[level] = component(components, "level" + std::to_string(level + 1),
                                static_cast<int64_t>(ends[level - 1]) * 8 * p.widths[level]);
  return s;
}

void require_written(const char* wrong) {
  if (wrong != nullptr) throw std::runtime_error(std::string("the words changed while they were encoded: ") + wrong);
}

// parameters: those of a node, as JSON.
void encode(Words words, const Seen& seen, const std::string& dtype, const std::string& parameters, nb::dict components,
            int threads) {
  const tersely::Geometry& g = seen.geometry;
  const Parameters p = tersely::split_parameters(tersely::Json::parse(parameters), tersely::dtype_of(dtype));
  const uint8_t* from = words_of(words, g, p.dtype);
  tersely::MutableStreams s = mutable_streams(p, components, g.segments);
  std::vector<uint32_t> ranks;
  if (p.has_short) {
    const int64_t bytes = tersely::ceil_div(g.panels, 64) * 8;
    s.short_panels = component(components, "short_panels", bytes);
    ranks = tersely::short_ranks(s.short_panels, bytes);
    s.short_rank = ranks.data();
  }
  const char* wrong;
  {
    const Computing unlocked;
    wrong = tersely::split_encode(from, g, p, s, tersely::active_table(), threads);
  }
  require_written(wrong);
}

void check_sequence(const Words& words, const Starts& starts, tersely::DType dtype) {
  tersely::require(starts.size() >= 1 && starts.data()[0] == 0, "a sequence begins with group 0");
  for (size_t i = 1; i < starts.size(); ++i) {
    const uint64_t groups = starts.data()[i] - starts.data()[i - 1];  // wraps where entries fall: then over the limit
    tersely::require(groups <= tersely::kSegmentChunks, "a segment has too many groups");
  }
  const auto groups = static_cast<int64_t>(starts.data()[starts.size() - 1]);
  tersely::require(
      static_cast<int64_t>(words.nbytes()) == groups * tersely::kChunkWeights * tersely::word_bytes_of(dtype),
      "words have the wrong size");
}

std::tuple<int, int> values_statistics(Words words, Starts starts, const std::string& dtype, MutableWords histograms,
                                       int threads) {
  const tersely::DType type = tersely::dtype_of(dtype);
  const auto segments = static_cast<int64_t>(starts.size()) - 1;
  check_sequence(words, starts, type);
  require_size(static_cast<int64_t>(histograms.nbytes()) == segments * 1024);
  const Computing unlocked;
  const auto found = tersely::sequence_statistics(bytes_of(words), starts.data(), segments, type,
                                                  as<uint32_t>(histograms), tersely::active_table(), threads);
  return {found.byte, found.tail};
}

void encode_values(Words words, Starts starts, const std::string& dtype, const std::string& parameters,
                   nb::dict components, int threads) {
  const Parameters p = tersely::split_parameters(tersely::Json::parse(parameters), tersely::dtype_of(dtype));
  const auto segments = static_cast<int64_t>(starts.size()) - 1;
  check_sequence(words, starts, p.dtype);
  tersely::require(!p.has_short, "a sequence has one tail");
  const tersely::MutableStreams s = mutable_streams(p, components, segments);
  const char* wrong;
  {
    const Computing unlocked;
    wrong = tersely::sequence_encode(bytes_of(words), starts.data(), segments, p, s, tersely::active_table(), threads);
  }
  require_written(wrong);
}

}  // namespace

void bind_split(nb::module_& m) {
  nb::class_<Seen>(m, "Geometry")
      .def(
          "__init__",
          [](Seen* self, const std::vector<int64_t>& shape, const std::string& view, const std::string& orientation,
             const std::string& column_order) {
            new (self) Seen(tersely::see(shape, view, orientation, column_order));
          },
          nb::arg("shape"), nb::arg("view"), nb::arg("orientation"), nb::arg("column_order"));
  m.def("split_values_statistics", &values_statistics);
  m.def("split_values_encode", &encode_values);
  m.def("split_statistics", &statistics);
  m.def("split_encode", &encode);
}
