// Positions as Elias and Fano code a rising sequence: the positions of a segment's values, each split into low bits,
// stored as they are, and a high part, stored as the number of zeros before the value's one. P. Elias, "Efficient
// Storage and Retrieval by Content and Address of Static Files", 1974, doi:10.1145/321812.321820; R. M. Fano, "On the
// number of bits required to implement an associative memory", MIT Project MAC, Memorandum 61, 1971.
#pragma once

#include "tersely/backends/cpu/matrix/geometry.hpp"

namespace tersely {

// Value k of segment s, counted from directory[s], has its low bits at bit (directory[s] + k) * low_bits of `lower`;
// its one is the k-th of the words [starts[s], starts[s + 1]) of `upper`, with its high part as zeros before it.
class EliasFano {
 public:
  struct Streams {
    const uint8_t *upper, *lower;
    const uint64_t *directory, *starts;
    int low_bits;
  };
  explicit EliasFano(const Streams& streams) : s_(streams) {}
  // Writes the masks of all chunks of a segment, at most kSegmentChunks. Places beyond it, and values beyond those that
  // it has, are left out: only in a damaged file.
  void expand(int64_t segment, int64_t chunks, uint64_t* masks) const;
  // The number of the value at a position of a segment, or -1: a select among the zeros, then a look at equal high
  // parts.
  int64_t find(int64_t segment, int64_t position) const;

 private:
  uint64_t low(uint64_t value) const;
  uint64_t word(uint64_t index) const;

  const Streams s_;
};

}  // namespace tersely
