// Groups of a row's columns, and numbers in lines, as they cross from Python.
#pragma once

#include <algorithm>
#include <memory>

#include "tersely/backends/cpu/bindings/split_matrix.hpp"
#include "tersely/codes/affine/affine.hpp"

// Columns of a group, 0 for all, as chunks.
inline int64_t group_chunks_of(const tersely::Geometry& g, int64_t columns) {
  require(columns >= 0 && columns % tersely::kStepColumns == 0 && (columns == 0 || columns <= tersely::kSegmentColumns),
          "a group has whole blocks of columns, or all");
  return columns == 0 ? std::max<int64_t>(1, g.chunks_per_panel) : columns / tersely::kChunkColumns;
}

inline int64_t groups_of(const tersely::Geometry& g, int64_t group_chunks) {
  return tersely::ceil_div(g.chunks_per_panel, group_chunks);
}

// Small numbers of a matrix: lines of `bits`, or, where `coded` is not None, a matrix of bytes under `split`.
struct BorrowedNumbers {
  std::unique_ptr<tersely::IndexSource> source;
  const tersely::LineNumbers* lines = nullptr;  // null: they are coded
  const uint8_t* tiles = nullptr;
};
inline BorrowedNumbers numbers_in(const tersely::Geometry& g, const Bytes& stream, int bits) {
  require(bits == 1 || bits == 2 || bits == 4 || bits == 8, "lines have fields of 1, 2, 4 or 8 bits");
  require(static_cast<int64_t>(stream.size()) >= g.panels * tersely::panel_line_bytes(g, bits),
          "the lines are too short");
  auto lines = std::make_unique<tersely::LineNumbers>(g, stream.data(), bits);
  const tersely::LineNumbers* own = lines.get();
  return {std::move(lines), own, stream.data()};
}
inline BorrowedNumbers numbers_of(const nb::object& coded) {
  const auto& matrix = nb::cast<const SplitMatrix&>(coded);
  require(matrix.view().parameters.dtype == tersely::DType::kIndex, "these numbers are no bytes");
  return {std::make_unique<tersely::CodedNumbers>(matrix.view()), nullptr, matrix.view().streams.tiles};
}
