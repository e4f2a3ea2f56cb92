// The encoders of `sparse`: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/codes/selection/sparse/gaps.hpp"
#include "tersely/codes/selection/sparse/sparse_source.hpp"

namespace {

using tersely::Geometry;
using tersely::Seen;

void statistics(Words words, const Seen& seen, const std::string& dtype, MutableWords counts, MutableWords entries,
                int threads) {
  const Geometry& g = seen.geometry;
  const auto type = tersely::sparse_dtype(dtype);
  const uint8_t* from = words_of(words, g, type);
  require_size(static_cast<int64_t>(counts.nbytes()) == g.segments * 4 &&
               static_cast<int64_t>(entries.nbytes()) == g.panels * 64);
  const Computing unlocked;
  tersely::sparse_statistics(from, g, type, as<uint32_t>(counts), as<uint32_t>(entries), threads);
}

void encode_bitmap(Words words, const Seen& seen, const std::string& dtype, nb::dict components, int64_t granule,
                   int threads) {
  const Geometry& g = seen.geometry;
  const auto type = tersely::sparse_dtype(dtype);
  const uint8_t* from = words_of(words, g, type);
  tersely::require(granule > 0, "values come in whole groups");
  const auto* directory = reinterpret_cast<const uint64_t*>(component(components, "directory", (g.segments + 1) * 8));
  uint8_t* masks = component(components, "masks", g.panels * g.chunks_per_panel * 8);
  const auto count = static_cast<int64_t>(directory[g.segments]);
  uint8_t* values = component(components, "values.bytes", count * tersely::word_bytes_of(type));
  bool same;
  {
    const Computing unlocked;
    same = tersely::bitmap_encode(from, g, type, directory, granule, masks, values, threads);
  }
  require_same(same);
}

// parameters: those of a node with positions n_of_m, as JSON.
bool encode_n_of_m(Words words, const Seen& seen, const std::string& dtype, const std::string& parameters,
                   Starts starts, int64_t granule, MutableBytes codes, MutableWords values, int threads) {
  const Geometry& g = seen.geometry;
  const tersely::Parameters p =
      tersely::n_of_m_parameters(tersely::Json::parse(parameters), tersely::wide_dtype(dtype), g);
  const uint8_t* from = words_of(words, g, p.dtype);
  require_size(granule > 0 && static_cast<int64_t>(starts.size()) == g.segments + 1 &&
               static_cast<int64_t>(codes.size()) >= g.panels * p.panel_bytes &&
               static_cast<int64_t>(values.nbytes()) ==
                   static_cast<int64_t>(starts.data()[g.segments]) * tersely::word_bytes_of(p.dtype));
  const Computing unlocked;
  return tersely::n_of_m_encode(from, g, p, starts.data(), granule, codes.data(), as<uint8_t>(values), threads);
}

void encode_gaps(Words words, const Seen& seen, const std::string& dtype, nb::dict components, int threads) {
  const Geometry& g = seen.geometry;
  const auto type = tersely::sparse_dtype(dtype);
  const uint8_t* from = words_of(words, g, type);
  const auto* directory = reinterpret_cast<const uint64_t*>(component(components, "directory", (g.panels + 1) * 8));
  const auto entries = static_cast<int64_t>(directory[g.panels]) * tersely::kChunkWeights;
  uint8_t* gaps = component(components, "gaps", entries);
  uint8_t* values = component(components, "values.bytes", entries * tersely::word_bytes_of(type));
  const uint8_t* rows = component(components, "rows", g.panels * tersely::kPanelRows);
  bool same;
  {
    const Computing unlocked;
    same = tersely::gaps_encode(from, g, type, directory, rows, gaps, values, threads);
  }
  require_same(same);
}

}  // namespace

void bind_sparse(nb::module_& m) {
  m.def("sparse_statistics", &statistics);
  m.def("bitmap_encode", &encode_bitmap);
  m.def("n_of_m_encode", &encode_n_of_m);
  m.def("gaps_encode", &encode_gaps);
}
