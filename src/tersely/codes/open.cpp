// See open.hpp.
#include "tersely/codes/open.hpp"

#include "tersely/codes/opening.hpp"

namespace tersely {
namespace {

constexpr struct {
  const char* formulation;
  std::unique_ptr<CodedMatrix> (*open)(const Opening&);
} kFormulations[] = {
    {"split", open_split},
    {"sparse", open_sparse},
    {"integer", open_integer},
    {"palette", open_palette},
    {"row_palette", open_row_palette},
    {"affine", open_affine},
    {"blocks", open_blocks},
    {"block_sparse", open_block_sparse},
    {"submatrix", open_submatrix},
    {"signed_zeros", open_signed_zeros},
};

}  // namespace

std::unique_ptr<CodedMatrix> open_node(const Opening& opening) {
  for (const auto& row : kFormulations)
    if (opening.node.formulation == row.formulation) return row.open(opening);
  throw std::invalid_argument("formulation '" + opening.node.formulation + "' has no matrix");
}

std::unique_ptr<CodedMatrix> open(const Description& description, const Components& components) {
  const Seen seen = see(description.shape, description.view, description.orientation, description.column_order);
  return open_node({description.node, description.dtype, description.shape, description.view, seen, components});
}

}  // namespace tersely
