// The formulation `palette`: a table of at most 256 words, and for each weight its index in there, packed
// (kernels/lookup.hpp), or a tensor of bytes of its own under a code of split, or numbers that `integer` holds. FORMAT:
// docs/FORMAT.md, "A table for the tensor".
#pragma once

#include "tersely/backends/cpu/kernels/lookup.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"

namespace tersely {

// entries: 1 to 256 words of the dtype.
void make_palette(Palette& palette, DType dtype, const uint8_t* words, int entries);

// The distinct words, in no order, and how often each occurs. Returns how many there are, -1 for more than 256.
int palette_count(const uint8_t* words, int64_t count, int word_bytes, uint32_t* found, uint64_t* counts, int threads);
// Each word's index in `table`, which has `entries` words. Returns whether all were found.
bool palette_indices(const uint8_t* words, int64_t count, int word_bytes, const uint32_t* table, int entries,
                     uint8_t* indices, int threads);
// Packs indices, a tensor of bytes, to chunks of `bits` bits an index. Padding has index 0.
void palette_pack(const uint8_t* indices, const Geometry& geometry, int bits, uint8_t* out, int threads);

// Packs the low `bits` bits of the 64 indices of a chunk.
void pack_chunk(const uint8_t* indices, int bits, uint8_t* out);

}  // namespace tersely
