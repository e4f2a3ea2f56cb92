// Opening tables of words for each row, or each group of its columns.
#include "tersely/backends/cpu/matrix/walked_matrix.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/words/row_palette/row_palette.hpp"

namespace tersely {
namespace {

class RowPaletteMatrix final : public WalkedMatrix {
 public:
  RowPaletteMatrix(const Seen& seen, const RowTables& tables, const SmallNumbers& indices)
      : WalkedMatrix(seen, std::make_unique<RowTableSource>(seen.geometry, tables, indices.source)),
        tables_(tables),
        lines_(indices.lines) {}
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override {
    if (transposed) return linear_transposed(view(), active_table(), rows, threads);
    row_palette_linear({view(), lines_, tables_}, active_table(), rows, threads);
  }

 private:
  const RowTables tables_;
  const RowFieldNumbers* const lines_;  // of the source's indices
};

}  // namespace

std::unique_ptr<CodedMatrix> open_row_palette(const Opening& opening) {
  const Geometry& g = opening.geometry();
  RowTables tables{};
  tables.dtype = wide_dtype(opening.dtype);
  const int64_t entries = opening.parameters().at("entries").number();
  require(entries >= 1 && entries <= 256, "a table has 1 to 256 words");
  tables.entries = static_cast<int>(entries);
  tables.group_chunks = group_chunks_of(g, opening.parameters().at("columns").number());
  tables.groups = groups_of(g, tables.group_chunks);
  const int64_t count = checked_product(checked_product(g.panels, tables.groups), kPanelRows * entries);
  tables.words = opening.components.index("tables", checked_product(count, word_bytes_of(tables.dtype)));
  return std::make_unique<RowPaletteMatrix>(opening.seen, tables,
                                            small_numbers(g, opening.node, opening.components, "indices"));
}

}  // namespace tersely
