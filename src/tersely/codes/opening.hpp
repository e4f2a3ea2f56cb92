// What the code of each formulation that opens matrices is given, and the list of them.
#pragma once

#include <memory>
#include <stdexcept>

#include "tersely/backends/cpu/matrix/coded_matrix.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"

namespace tersely {

// A tensor under a node: `components` are those below the node's prefix.
struct Opening {
  const Node& node;
  const std::string& dtype;  // as descriptions have it
  const std::vector<int64_t>& shape;
  const std::string& view;
  const Seen& seen;
  const Components& components;

  const Geometry& geometry() const { return seen.geometry; }
  const Json& parameters() const { return node.parameters; }
};

inline void require(bool fits, const char* what) {
  if (!fits) throw std::invalid_argument(what);
}

// Each beside the code that it opens. They take what `validate` has seen in Python, and check again whatever a read
// beyond a component would follow from. Throw std::invalid_argument.
std::unique_ptr<CodedMatrix> open_split(const Opening& opening);
std::unique_ptr<CodedMatrix> open_sparse(const Opening& opening);
std::unique_ptr<CodedMatrix> open_integer(const Opening& opening);
std::unique_ptr<CodedMatrix> open_palette(const Opening& opening);
std::unique_ptr<CodedMatrix> open_row_palette(const Opening& opening);
std::unique_ptr<CodedMatrix> open_affine(const Opening& opening);
std::unique_ptr<CodedMatrix> open_blocks(const Opening& opening);
std::unique_ptr<CodedMatrix> open_block_sparse(const Opening& opening);
std::unique_ptr<CodedMatrix> open_submatrix(const Opening& opening);
std::unique_ptr<CodedMatrix> open_signed_zeros(const Opening& opening);

// By the node's formulation.
std::unique_ptr<CodedMatrix> open_node(const Opening& opening);

}  // namespace tersely
