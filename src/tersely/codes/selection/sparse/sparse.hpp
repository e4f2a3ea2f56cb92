// The formulation `sparse`: where the non-zero words are, and the words. A zero is the word of zero bits; -0.0 is not.
#pragma once

#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"

namespace tersely {

constexpr int64_t kWindowRows = 256;  // rows are sorted by count inside windows of as many

// One pass. counts: uint32 [segments], words that are not zero. entries: uint32 [panels * 16], what each row takes as
// column gaps of at most 255: its words and the fillers between them.
void sparse_statistics(const uint8_t* words, const Geometry& geometry, DType dtype, uint32_t* counts, uint32_t* entries,
                       int threads);

// Writes masks and values, whose directory is filled in. `granule`: each segment's values are filled up to a multiple
// of it by repeating the last one. Returns whether the words are those that the directory was made from.
bool bitmap_encode(const uint8_t* words, const Geometry& geometry, DType dtype, const uint64_t* directory,
                   int64_t granule, uint8_t* masks, uint8_t* values, int threads);

// Writes the codes, zeroed before, and values of n_of_m; starts: values before each segment, filled up as in
// bitmap_encode. Returns whether no m columns of a row have more than n words that are not zero.
bool n_of_m_encode(const uint8_t* words, const Geometry& geometry, const Parameters& parameters, const uint64_t* starts,
                   int64_t granule, uint8_t* codes, uint8_t* values, int threads);

}  // namespace tersely
