// A coded matrix whose operators are the walk over a source: most formulations.
#pragma once

#include "tersely/backends/cpu/matrix/coded_matrix.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"

namespace tersely {

class WalkedMatrix : public CodedMatrix {
 public:
  // Products of floats, unless words are bytes that are all symbol.
  WalkedMatrix(const Seen& seen, std::unique_ptr<const Source> source)
      : offsets_(seen.offsets),
        source_(std::move(source)),
        view_{seen.geometry, source_->parameters().dtype, *source_} {}

  const Geometry& geometry() const override { return view_.geometry; }
  const MatrixView* words() const override { return &view_; }
  int64_t word_bytes() const override { return word_bytes_of(view_.dtype); }
  DType dtype() const override { return view_.dtype; }
  Products products() const override { return view_.dtype == DType::kIndex ? Products::kNone : Products::kFloats; }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    tersely::decode_window(view_, active_table(), first_panel, last_panel, first_element, elements, out, threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return tersely::access(view_, active_table(), matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return pick_rows(view_, active_table(), wanted, count, out, threads);
  }
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override {
    (transposed ? linear_transposed : linear)(view_, active_table(), rows, threads);
  }

 protected:
  // Of words that are folded about folding.centre and written as `written`.
  WalkedMatrix(const Seen& seen, std::unique_ptr<const Source> source, DType written, const Folding& folding)
      : offsets_(seen.offsets),
        source_(std::move(source)),
        folding_(folding),
        view_{seen.geometry, written, *source_, &folding_} {}
  const MatrixView& view() const { return view_; }

 private:
  std::shared_ptr<const std::vector<int64_t>> offsets_;
  std::unique_ptr<const Source> source_;
  Folding folding_{};
  MatrixView view_;
};

}  // namespace tersely
