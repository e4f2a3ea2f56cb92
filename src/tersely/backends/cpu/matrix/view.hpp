// A coded matrix as the operators see it: its shape, the dtype that they write, and a source of its words.
#pragma once

#include "tersely/backends/cpu/matrix/sources.hpp"

namespace tersely {

// Of a tensor whose words are distances from a centre, folded to sign and size (integer's distances): what operators
// write instead, words as long as theirs or twice as long, in the same vector order.
struct Folding {
  uint16_t centre;
};

struct MatrixView {
  Geometry geometry;
  DType dtype;  // that is written: the source's, unless words are unfolded
  const Source& source;
  const Folding* folding = nullptr;  // null: words are written as they were coded
};

inline int64_t word_bytes_of(DType dtype) { return kFields[static_cast<int>(dtype)].word_bytes; }

}  // namespace tersely
