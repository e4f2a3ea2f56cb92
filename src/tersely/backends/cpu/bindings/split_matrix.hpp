// A matrix under `split` as Python holds it: for its own operators, and for the formulations that code their words so.
#pragma once

#include <bit>
#include <string>
#include <vector>

#include "tersely/backends/cpu/bindings/matrix.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

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
class SplitMatrix : public tersely::CodedMatrix, protected BorrowedMatrix {
 public:
  SplitMatrix(const OwnedGeometry& geometry, const tersely::Parameters& parameters, nb::dict components)
      : BorrowedMatrix(geometry, components) {
    view_.geometry = with_offsets(geometry_);
    view_.parameters = parameters;
    tersely::Streams& s = view_.streams;
    s = {};
    s.tiles = borrow("tiles");
    if (parameters.code != tersely::Code::kConstant) {
      s.escapes = borrow("escapes");
      s.directory = borrow_directory();
      s.directory_columns = parameters.code == tersely::Code::kPacked ? 1 : parameters.levels;
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
    const tersely::Geometry& g = whole.view_.geometry;
    tersely::Geometry& own = view_.geometry;
    own.count = 1;
    own.rows = rows;
    own.elements = rows * own.columns;
    tersely::derive(own);
    tersely::Streams& s = view_.streams;
    s.tiles += tersely::panel_offset(whole.view_, first_panel);
    if (s.directory != nullptr)
      s.directory += tersely::unit_of_panel(g, first_panel) * g.segments_per_panel * s.directory_columns;
    if (s.short_panels != nullptr) {
      bitmap_.resize(static_cast<size_t>(tersely::ceil_div(own.panels, 64) * 8));
      for (int64_t panel = 0; panel < own.panels; ++panel)
        if (tersely::panel_is_short(whole.view_.streams, first_panel + panel))
          bitmap_[static_cast<size_t>(panel / 8)] |= static_cast<uint8_t>(1 << panel % 8);
      ranks_ = short_ranks(bitmap_.data(), bitmap_.size());
      s.short_panels = bitmap_.data();
      s.short_rank = ranks_.data();
    }
  }
  SplitMatrix(const SplitMatrix&) = delete;

  const tersely::SplitView& view() const { return view_; }
  const tersely::Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.parameters.dtype); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::decode_window(view_, tersely::active_table(), first_panel, last_panel, first_element, elements, out,
                           threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::access(view_, matrix, row, column);
  }
  void multiply(const tersely::Rows& rows, int threads, bool transposed) const override {
    (transposed ? tersely::linear_transposed : tersely::linear)(view_, tersely::active_table(), rows, threads);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return tersely::pick_rows(view_, tersely::active_table(), wanted, count, out, threads);
  }

 private:
  std::vector<uint32_t> ranks_;
  std::vector<uint8_t> bitmap_;  // of a part
  tersely::SplitView view_;
};
