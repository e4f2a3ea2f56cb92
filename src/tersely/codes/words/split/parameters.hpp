// What a node of split says, as kernels take it. layout.py is the same in Python.
#pragma once

#include "tersely/backends/cpu/matrix/description.hpp"

namespace tersely {

// Of a node's parameters; throws std::invalid_argument where they contradict each other or the dtype.
Parameters split_parameters(const Json& json, DType dtype);

// Streams of a matrix, or of a sequence of `parts` segments of at most `max_groups` groups of 64 words, by the names
// of split's components. tile_bytes: what the tiles have without slack.
Streams split_streams(const Parameters& parameters, const Components& components, int64_t tile_bytes, int64_t parts,
                      int64_t max_groups);

}  // namespace tersely
