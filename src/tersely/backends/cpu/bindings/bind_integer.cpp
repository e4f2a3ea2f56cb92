// The encoders of `integer`: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/codes/words/integer/fields.hpp"

namespace {

using tersely::Seen;

void statistics(Words words, const Seen& seen, const std::string& dtype, MutableWords levels, int threads) {
  const tersely::Geometry& g = seen.geometry;
  require_size(static_cast<int64_t>(words.nbytes()) == g.elements &&
               static_cast<int64_t>(levels.nbytes()) == g.segments * 256 * 4);
  const uint8_t flip = tersely::flip_of(dtype);
  const Computing unlocked;
  tersely::integer_statistics(bytes_of(words), g, flip, as<uint32_t>(levels), threads);
}

void encode(Words words, const Seen& seen, const std::string& dtype, nb::dict components, int threads) {
  tersely::IntegerView view{};
  const tersely::Geometry& g = view.geometry = seen.geometry;
  view.flip = tersely::flip_of(dtype);
  require_size(static_cast<int64_t>(words.nbytes()) == g.elements);
  view.groups = component(components, "groups", g.units * 2);
  const std::vector<int64_t> starts = tersely::field_starts(g, view.groups);
  view.starts = starts.data();
  view.directory = reinterpret_cast<const uint64_t*>(component(components, "directory", (g.segments + 1) * 8));
  const auto listed = static_cast<int64_t>(view.directory[g.segments]);
  uint8_t* fields = component(components, "fields", starts.back());
  uint8_t* positions = component(components, "escape_positions", listed * 2);
  uint8_t* escapes = component(components, "escapes", listed);
  view.fields = fields;
  bool same;
  {
    const Computing unlocked;
    same = tersely::integer_encode(bytes_of(words), view, fields, positions, escapes, threads);
  }
  require_same(same);
}

}  // namespace

void bind_integer(nb::module_& m) {
  m.def("integer_statistics", &statistics);
  m.def("integer_encode", &encode);
}
