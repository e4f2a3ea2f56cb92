// A matrix under split, which alone has parts, and what other formulations open of it.
#pragma once

#include "tersely/backends/cpu/matrix/walked_matrix.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/words/split/split_source.hpp"

namespace tersely {

// A source of the words of a node of split, which are split like words of `dtype`.
inline std::unique_ptr<SplitSource> split_source(const Geometry& geometry, const Node& node, DType dtype,
                                                 const Components& components) {
  require(node.formulation == "split", "this child is under 'split' only");
  return std::make_unique<SplitSource>(geometry, split_parameters(node.parameters, dtype), components);
}

class SplitMatrix final : public WalkedMatrix {
 public:
  SplitMatrix(const Seen& seen, std::unique_ptr<const SplitSource> source) : SplitMatrix(seen, source.get(), source) {}

  std::unique_ptr<CodedMatrix> part(int64_t matrix, int64_t first, int64_t last) const override;

 private:
  SplitMatrix(const Seen& seen, const SplitSource* split, std::unique_ptr<const SplitSource>& source)
      : WalkedMatrix(seen, std::move(source)), split_(*split) {}

  const SplitSource& split_;
};

}  // namespace tersely
