// A binary tree over the symbols of a tensor, in their order: frequent ones are near its root.
//
// Order is kept so that what one context tells about small symbols is in few nodes. Weights are given as logarithms
// (4 bits each), which is all of the histogram that is stored.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tersely::storage {

inline constexpr size_t kMaxSymbols = 4096;

struct SymbolTree {
  struct Node {
    uint16_t split;    // symbols below go to the left, by bit 0
    int32_t child[2];  // a node, or -1 - symbol
  };
  std::vector<Node> nodes;
  /// The root: as a child is.
  int32_t root = -1;

  /// logs: of the count of each symbol, 0 where there is none; at least one is not 0.
  explicit SymbolTree(const std::vector<uint8_t>& logs) {
    std::vector<uint16_t> symbols;
    std::vector<uint64_t> sums = {0};
    for (size_t symbol = 0; symbol < logs.size(); ++symbol)
      if (logs[symbol] != 0) {
        symbols.push_back(static_cast<uint16_t>(symbol));
        sums.push_back(sums.back() + (uint64_t{1} << logs[symbol]));
      }
    nodes.reserve(symbols.size());
    root = build(symbols, sums, 0, symbols.size());
  }

 private:
  // Symbols [begin, end): at least one. As deep as 15 doublings and the bisection of what weighs the same: below 64.
  int32_t build(const std::vector<uint16_t>& symbols, const std::vector<uint64_t>& sums, size_t begin, size_t end) {
    if (end - begin == 1) return -1 - static_cast<int32_t>(symbols[begin]);
    size_t split = begin + 1;
    const auto uneven = [&](size_t at) {
      const uint64_t left = sums[at] - sums[begin], right = sums[end] - sums[at];
      return left > right ? left - right : right - left;
    };
    while (split + 1 < end && uneven(split + 1) < uneven(split)) ++split;
    const size_t at = nodes.size();
    nodes.push_back({symbols[split], {}});
    const int32_t left = build(symbols, sums, begin, split);
    const int32_t right = build(symbols, sums, split, end);
    nodes[at].child[0] = left;
    nodes[at].child[1] = right;
    return static_cast<int32_t>(at);
  }
};

}  // namespace tersely::storage
