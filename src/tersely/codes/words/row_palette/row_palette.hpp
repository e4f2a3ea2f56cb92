// The formulation `row_palette`: each row, or each group of a row's columns, has a table of words, and each weight is
// an index into its own. Indices lie in row fields, or are bytes under a code of split. FORMAT: docs/FORMAT.md, "Scales
// and tables by rows".
#pragma once

#include "tersely/codes/words/affine/affine.hpp"

namespace tersely {

// Streams that have passed validation. The *group index* of a panel's group is panel x groups + group.
struct RowTables {
  DType dtype;
  const uint8_t* words;  // [group indices][16 rows][entries]
  int entries;           // 1 to 256
  int64_t group_chunks;  // chunks of a group; the last of a panel may have fewer
  int64_t groups;        // of a panel
};

// The words of a segment, each looked up in its own table.
class RowTableSource final : public ExpandedSource {
 public:
  RowTableSource(const Geometry& geometry, const RowTables& tables, std::shared_ptr<const SymbolSource> indices)
      : ExpandedSource(geometry, tables.dtype), tables_(tables), indices_(std::move(indices)) {}
  uint32_t access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const override;

 protected:
  void expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* words) const override;

 private:
  const RowTables tables_;
  const std::shared_ptr<const SymbolSource> indices_;
};

struct RowPaletteView {
  const MatrixView& words;       // over a RowTableSource
  const RowFieldNumbers* lines;  // null: indices are coded
  const RowTables& tables;
};

// y = x w^T. Few rows of x are multiplied by row fields of up to 4 bits as they are.
void row_palette_linear(const RowPaletteView& view, const KernelTable& table, const Rows& rows, int threads);

// The most words that a table needs, at this many columns a group; 0 where one needs more than `most`.
int row_palette_entries(const uint8_t* words, DType dtype, const Geometry& geometry, int64_t group_chunks, int most,
                        int threads);
// Tables, zeroed before, and indices, a byte each in the tensor's shape.
void row_palette_encode(const uint8_t* words, const Geometry& geometry, const RowTables& shape, uint8_t* tables,
                        uint8_t* indices, int threads);

}  // namespace tersely
