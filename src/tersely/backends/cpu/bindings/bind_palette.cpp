// The encoders of `palette`: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/codes/words/palette/palette.hpp"
#include "tersely/codes/words/palette/values.hpp"

namespace {

using tersely::Seen;

// Fills found [256] and counts [256]; returns how many distinct words there are, -1 for more than 256.
int count(Words words, int word_bytes, MutableWords found, MutableWords counts, int threads) {
  require_size((word_bytes == 2 || word_bytes == 4) && found.nbytes() == 1024 && counts.nbytes() == 2048);
  const Computing unlocked;
  return tersely::palette_count(bytes_of(words), static_cast<int64_t>(words.nbytes()) / word_bytes, word_bytes,
                                as<uint32_t>(found), as<uint64_t>(counts), threads);
}

void indices(Words words, int word_bytes, Words table, MutableWords out, int threads) {
  const auto count = static_cast<int64_t>(words.nbytes()) / word_bytes;
  require_size((word_bytes == 2 || word_bytes == 4) && table.nbytes() <= 1024 &&
               static_cast<int64_t>(out.nbytes()) == count);
  bool same;
  {
    const Computing unlocked;
    same = tersely::palette_indices(bytes_of(words), count, word_bytes, static_cast<const uint32_t*>(table.data()),
                                    static_cast<int>(table.nbytes() / 4), as<uint8_t>(out), threads);
  }
  require_same(same);
}

void pack(Words indices, const Seen& seen, int bits, MutableBytes out, int threads) {
  const tersely::Geometry& g = seen.geometry;
  require_size(bits >= 1 && bits <= 8 && static_cast<int64_t>(indices.nbytes()) == g.elements &&
               static_cast<int64_t>(out.size()) >= g.panels * g.chunks_per_panel * 8 * bits);
  const Computing unlocked;
  tersely::palette_pack(bytes_of(indices), g, bits, out.data(), threads);
}

void pack_groups(Words indices, int bits, MutableBytes out, int threads) {
  const auto groups = static_cast<int64_t>(indices.nbytes()) / tersely::kChunkWeights;
  require_size(bits >= 1 && bits <= 8 && groups * tersely::kChunkWeights == static_cast<int64_t>(indices.nbytes()) &&
               static_cast<int64_t>(out.size()) >= groups * 8 * bits);
  const Computing unlocked;
  tersely::pack_groups(bytes_of(indices), groups, bits, out.data(), threads);
}

}  // namespace

void bind_palette(nb::module_& m) {
  m.def("palette_count", &count);
  m.def("palette_indices", &indices);
  m.def("palette_pack", &pack);
  m.def("palette_pack_groups", &pack_groups);
}
