// Encoding: one pass of statistics, then one pass that writes every stream at its final place.
#pragma once

#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"

namespace tersely {

// histograms: uint32 [segments][256], zeroed here. tail_kinds: uint8 [panels]. Returns the constant value of the byte
// plane, or -1. words: the tensor, geometry.elements words of the dtype.
int split_statistics(const uint8_t* words, const Geometry& geometry, DType dtype, uint32_t* histograms,
                     uint8_t* tail_kinds, const KernelTable& table, int threads);

struct MutableStreams {
  uint8_t* tiles;
  uint8_t* escapes;
  uint8_t* levels[kMaximumLevels];
  uint64_t* directory;
  uint8_t* short_panels;
  uint32_t* short_rank;
  int64_t tiles_bytes, escapes_bytes, levels_bytes[kMaximumLevels], directory_bytes, short_panels_bytes;
};

// Writes all components, slack and padding included. Returns null, or the name of the first component whose size is not
// what the words need.
const char* split_encode(const uint8_t* words, const Geometry& geometry, const Parameters& parameters,
                         const MutableStreams& streams, const KernelTable& table, int threads);

}  // namespace tersely
