// The encoders of `blocks` and `block_sparse`: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/codes/selection/blocks/blocks.hpp"

namespace {

using tersely::BlockShape;
using tersely::Seen;

int64_t find(Words words, const Seen& seen, const std::string& dtype, const std::string& block, int64_t limit,
             MutableWords ids, MutableWords table) {
  const tersely::Geometry& g = seen.geometry;
  const auto type = tersely::wide_dtype(dtype);
  const BlockShape kind = tersely::block_shape(block);
  const uint8_t* from = words_of(words, g, type);
  const int64_t height = tersely::is_one_high(kind) ? 1 : 16;
  require_size(kind != BlockShape::kRow && limit >= 0 &&
               static_cast<int64_t>(ids.nbytes()) == g.panels * tersely::indices_per_panel(g, kind) * 4 &&
               static_cast<int64_t>(table.nbytes()) ==
                   limit * height * tersely::block_columns(g, kind) * tersely::word_bytes_of(type));
  const Computing unlocked;
  return tersely::blocks_find(from, g, type, kind, limit, as<uint32_t>(ids), as<uint8_t>(table));
}

void pack(Words ids, int bits, MutableBytes out) {
  const auto count = static_cast<int64_t>(ids.nbytes()) / 4;
  require_size(bits >= 0 && bits <= 16 && count % 8 == 0 && static_cast<int64_t>(out.nbytes()) >= count / 8 * bits);
  const Computing unlocked;
  tersely::blocks_pack(static_cast<const uint32_t*>(ids.data()), count, bits, out.data());
}

void masks(Words words, const Seen& seen, const std::string& dtype, const std::string& block, MutableBytes out,
           MutableWords counts, int threads) {
  const tersely::Geometry& g = seen.geometry;
  const auto type = tersely::sparse_dtype(dtype);
  const BlockShape kind = tersely::block_shape(block);
  const uint8_t* from = words_of(words, g, type);
  require_size(!tersely::is_one_high(kind) &&
               static_cast<int64_t>(out.nbytes()) >= g.panels * tersely::mask_words(g, kind) * 8 &&
               static_cast<int64_t>(counts.nbytes()) == g.panels * 8);
  const Computing unlocked;
  tersely::block_masks(from, g, type, kind, out.data(), as<uint64_t>(counts), threads);
}

void values(Words words, const Seen& seen, const std::string& dtype, const std::string& block, nb::dict components,
            int threads) {
  const tersely::Geometry& g = seen.geometry;
  const auto type = tersely::sparse_dtype(dtype);
  const BlockShape kind = tersely::block_shape(block);
  const uint8_t* from = words_of(words, g, type);
  uint8_t* mask = component(components, "masks", g.panels * tersely::mask_words(g, kind) * 8);
  const auto* starts = reinterpret_cast<const uint64_t*>(component(components, "directory", (g.panels + 1) * 8));
  const auto kept = static_cast<int64_t>(starts[g.panels]);
  const int64_t rows = kind == BlockShape::kRow ? (kept + 15) / 16 * 16 : kept * 16;
  uint8_t* out =
      component(components, "values.bytes", rows * tersely::block_columns(g, kind) * tersely::word_bytes_of(type));
  const Computing unlocked;
  tersely::block_values(from, g, type, kind, mask, starts, out, threads);
}

}  // namespace

void bind_blocks(nb::module_& m) {
  m.def("blocks_find", &find);
  m.def("blocks_pack", &pack);
  m.def("block_masks", &masks);
  m.def("block_values", &values);
}
