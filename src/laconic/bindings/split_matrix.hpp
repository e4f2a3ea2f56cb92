// A matrix under `split` as Python holds it: for its own operators, and for the formulations that code their words so.
#pragma once

#include <bit>
#include <string>
#include <vector>

#include "laconic/bindings/matrix.hpp"
#include "laconic/formulations/split/walk.hpp"

// Marked panels before each 64-panel word.
inline std::vector<uint32_t> short_ranks(const uint8_t* bitmap, size_t bytes) {
  std::vector<uint32_t> ranks;
  uint32_t count = 0;
  for (size_t at = 0; at < bytes; ++at) {
    if (at % 8 == 0) ranks.push_back(count);
    count += static_cast<uint32_t>(std::popcount(bitmap[at]));
  }
  ranks.push_back(count);
  return ranks;
}

// A view over components that the object keeps alive. Built from components that have passed `validate` in Python.
class SplitMatrix : public laconic::CodedMatrix, protected BorrowedMatrix {
 public:
  SplitMatrix(const OwnedGeometry& geometry, const laconic::Parameters& parameters, nb::dict components)
      : BorrowedMatrix(geometry, components) {
    view_.geometry = with_offsets(geometry_);
    view_.parameters = parameters;
    laconic::Streams& s = view_.streams;
    s = {};
    s.tiles = borrow("tiles");
    if (parameters.code != laconic::Code::kConstant) {
      s.escapes = borrow("escapes");
      s.directory = borrow_directory();
      s.directory_columns = parameters.code == laconic::Code::kPacked ? 1 : parameters.levels;
      for (int level = 1; level < parameters.levels; ++level)
        s.levels[level] = borrow(("level" + std::to_string(level + 1)).c_str());
    }
    if (parameters.has_short) {
      s.short_panels = borrow("short_panels");
      ranks_ = short_ranks(s.short_panels, keep_.back().size());
      s.short_rank = ranks_.data();
    }
  }

  // Whole units of one matrix of `whole`: panels from `first_panel` on that hold `rows` rows. Nothing is copied but the
  // panels' bitmap: directory entries count from the beginning of the streams, so they hold for a part as they are.
  SplitMatrix(const SplitMatrix& whole, int64_t first_panel, int64_t rows) : BorrowedMatrix(whole), view_(whole.view_) {
    const laconic::Geometry& g = whole.view_.geometry;
    laconic::Geometry& own = view_.geometry;
    own.count = 1;
    own.rows = rows;
    own.elements = rows * own.columns;
    laconic::derive(own);
    laconic::Streams& s = view_.streams;
    s.tiles += laconic::panel_offset(whole.view_, first_panel);
    if (s.directory != nullptr)
      s.directory += laconic::unit_of_panel(g, first_panel) * g.segments_per_panel * s.directory_columns;
    if (s.short_panels != nullptr) {
      bitmap_.resize(static_cast<size_t>(laconic::ceil_div(own.panels, 64) * 8));
      for (int64_t panel = 0; panel < own.panels; ++panel)
        if (laconic::panel_is_short(whole.view_.streams, first_panel + panel))
          bitmap_[static_cast<size_t>(panel / 8)] |= static_cast<uint8_t>(1 << panel % 8);
      ranks_ = short_ranks(bitmap_.data(), bitmap_.size());
      s.short_panels = bitmap_.data();
      s.short_rank = ranks_.data();
    }
  }
  SplitMatrix(const SplitMatrix&) = delete;

  const laconic::SplitView& view() const { return view_; }
  const laconic::Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.parameters.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    laconic::decode_window(view_, laconic::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return laconic::access(view_, matrix, row, column);
  }
  void multiply(const laconic::Rows& rows, int threads, bool transposed) const override {
    (transposed ? laconic::linear_transposed : laconic::linear)(view_, laconic::active_table(), rows, threads);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return laconic::pick_rows(view_, laconic::active_table(), wanted, count, out, threads);
  }

 private:
  std::vector<uint32_t> ranks_;
  std::vector<uint8_t> bitmap_;  // of a part
  laconic::SplitView view_;
};
