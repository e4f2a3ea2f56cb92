// Opening blocks: by index into a dictionary, or, for block_sparse, by bit.
#include <bit>

#include "tersely/codes/opening.hpp"
#include "tersely/codes/selection/blocks/blocks.hpp"

namespace tersely {
namespace {

class BlockMatrix final : public CodedMatrix {
 public:
  // is_signed: of integers of 8 bits.
  BlockMatrix(const Seen& seen, const BlockView& view, bool is_signed)
      : offsets_(seen.offsets), view_(view), is_signed_(is_signed) {}
  const Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return word_bytes_of(view_.dtype); }
  DType dtype() const override { return view_.dtype; }
  Products products() const override { return word_bytes() == 1 ? Products::kIntegers : Products::kFloats; }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    blocks_decode_window(view_, active_table(), first_panel, last_panel, first_element, elements, out, threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return blocks_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return blocks_pick_rows(view_, active_table(), wanted, count, out, threads);
  }
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override {
    (transposed ? blocks_linear_transposed : blocks_linear)(view_, active_table(), rows, threads);
  }
  bool multiply_integers(const IntegerRows& rows, int threads) const override {
    require(view_.geometry.count == 1 && word_bytes() == 1, "a product needs a matrix of 8-bit weights");
    require(rows.groups == 1, "blocks have no groups of columns");
    return blocks_integer_linear(view_, is_signed_, active_table(), rows, threads);
  }

 private:
  const std::shared_ptr<const std::vector<int64_t>> offsets_;
  const BlockView view_;
  const bool is_signed_;
};

BlockView view_of(const Opening& opening, DType dtype) {
  BlockView view{};
  view.geometry = opening.geometry();
  view.dtype = dtype;
  view.shape = block_shape(opening.parameters().at("block").string());
  return view;
}

// Bytes of so many blocks: whole rows lie 16 side by side.
int64_t word_bytes(const BlockView& v) {
  const bool row = v.shape == BlockShape::kRow;
  const int64_t height = is_one_high(v.shape) || row ? 1 : kPanelRows;
  const int64_t count = row ? ceil_div(v.count, kPanelRows) * kPanelRows : v.count;
  return checked_product(checked_product(count, height * block_columns(v.geometry, v.shape)), word_bytes_of(v.dtype));
}

}  // namespace

BlockShape block_shape(const std::string& name) {
  constexpr const char* kNames[] = {"row", "1x4", "1x8", "16x1", "chunk"};
  for (int shape = 0; shape < 5; ++shape)
    if (name == kNames[shape]) return static_cast<BlockShape>(shape);
  throw std::invalid_argument("there is no block '" + name + "'");
}

std::unique_ptr<CodedMatrix> open_blocks(const Opening& opening) {
  BlockView view = view_of(opening, wide_dtype(opening.dtype));
  view.count = opening.parameters().at("count").number();
  require(view.count >= 0 && view.count <= 1 << 16 && (view.count > 0 || view.geometry.elements == 0),
          "an impossible number of blocks");
  view.bits = view.count == 0 ? 0 : std::bit_width(static_cast<unsigned>(view.count - 1));
  const int64_t eighths = view.bits == 0 ? 0 : indices_per_panel(view.geometry, view.shape) / 8;
  view.indices =
      opening.components.stream("indices", checked_product(checked_product(view.geometry.panels, eighths), view.bits));
  view.words = opening.components.stream("table.bytes", word_bytes(view));
  return std::make_unique<BlockMatrix>(opening.seen, view, false);
}

std::unique_ptr<CodedMatrix> open_block_sparse(const Opening& opening) {
  BlockView view = view_of(opening, sparse_dtype(opening.dtype));
  require(!is_one_high(view.shape), "block_sparse has rows and blocks of 16 rows");
  const Geometry& g = view.geometry;
  const int64_t words = mask_words(g, view.shape);
  view.masks = opening.components.stream("masks", checked_product(checked_product(g.panels, words), 8));
  view.directory = opening.components.directory(g.panels, 1, positions_per_panel(g, view.shape));
  view.count = static_cast<int64_t>(view.directory[g.panels]);
  view.words = opening.components.stream("values.bytes", word_bytes(view));
  return std::make_unique<BlockMatrix>(opening.seen, view, opening.dtype == "int8");
}

}  // namespace tersely
