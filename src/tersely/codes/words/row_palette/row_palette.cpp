// See row_palette.hpp.
#include "tersely/codes/words/row_palette/row_palette.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/words/affine/row_fields.hpp"
#include "tersely/codes/words/affine/words.hpp"

namespace tersely {
namespace {

template <class Word>
Word word_at(const RowTables& tables, int64_t group_index, int64_t row, int index) {
  // SAFE BECAUSE: indices are payload, and may be beyond the table.
  index = std::min(index, tables.entries - 1);
  Word word;
  std::memcpy(&word, tables.words + ((group_index * kPanelRows + row) * tables.entries + index) * int64_t{sizeof(Word)},
              sizeof(Word));
  return word;
}

uint32_t word_at(const RowTables& tables, int64_t group_index, int64_t row, int index) {
  return tables.dtype == DType::kFloat32 ? word_at<uint32_t>(tables, group_index, row, index)
                                         : word_at<uint16_t>(tables, group_index, row, index);
}

// One chunk of indices to words in vector order. The indices may lie where the words of later chunks will.
template <DType D>
void look_up(const RowTables& tables, int64_t group_index, const uint8_t* indices, uint8_t* out) {
  using Word = std::conditional_t<D == DType::kFloat32, uint32_t, uint16_t>;
  uint8_t own[kChunkWeights];
  std::memcpy(own, indices, sizeof own);
  const uint8_t* words = tables.words + group_index * kPanelRows * tables.entries * int64_t{sizeof(Word)};
  const auto last = static_cast<uint8_t>(tables.entries - 1);
  Word found[kChunkWeights];
  for (int row = 0; row < 16; ++row, words += tables.entries * int64_t{sizeof(Word)})
    for (int column = 0; column < 4; ++column) {
      const uint8_t index = std::min(own[column * 16 + row], last);
      std::memcpy(found + vector_position(D, row, column), words + index * sizeof(Word), sizeof(Word));
    }
  std::memcpy(out, found, sizeof found);
}

// Tables as floats, sixteen of each row.
class TableGroups : public RowFieldGroups {
 public:
  explicit TableGroups(const RowTables& tables, int bits)
      : RowFieldGroups(tables.group_chunks, tables.groups), tables_(tables), mask_((1 << bits) - 1) {}
  void point(const KernelTable&, int64_t group_index, int64_t count, int64_t reached,
             RowFieldsPart& part) const override {
    static thread_local Scratch scratch;
    auto* floats = scratch.get<float>(reached * kPanelRows * 16 * 4);
    float* out = floats;
    for (int64_t i = 0; i < count; ++i)
      for (int64_t row = 0; row < kPanelRows; ++row)
        for (int index = 0; index < 16; ++index)
          *out++ = value_of(tables_.dtype, word_at(tables_, group_index + i, row, index & mask_));
    std::fill(out, floats + reached * kPanelRows * 16, 0.0F);
    part.tables = floats;
  }

 private:
  const RowTables& tables_;
  const int mask_;
};

}  // namespace

void RowTableSource::expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* words) const {
  const SegmentPart part = segment_part(geometry(), segment);
  const int64_t word_bytes = kFields[static_cast<int>(tables_.dtype)].word_bytes;
  // SAFE BECAUSE: words take the place of indices that lie in the last quarter of the room for them: those of chunk c
  // end 3 x 64 x (kSegmentChunks - 1 - c) bytes before the indices of the chunk behind it begin, or more.
  uint8_t* indices = words + 3 * kSegmentWeights;
  indices_->expand(table, segment, scratch, indices);
  int64_t done = 0;
  for (int64_t panel = part.first_panel; panel < part.first_panel + part.panels; ++panel)
    for (int64_t chunk = 0; chunk < part.chunks; ++chunk, ++done) {
      const int64_t group_index = panel * tables_.groups + (part.first_chunk + chunk) / tables_.group_chunks;
      const uint8_t* from = indices + done * kChunkWeights;
      uint8_t* to = words + done * kChunkWeights * word_bytes;
      if (tables_.dtype == DType::kFloat32) {
        look_up<DType::kFloat32>(tables_, group_index, from, to);
      } else if (tables_.dtype == DType::kBfloat16) {
        look_up<DType::kBfloat16>(tables_, group_index, from, to);
      } else {
        look_up<DType::kFloat16>(tables_, group_index, from, to);
      }
    }
}

uint32_t RowTableSource::access(const KernelTable&, int64_t matrix, int64_t row, int64_t column) const {
  const int64_t panel = matrix * geometry().panels_per_matrix + row / kPanelRows;
  const int64_t group_index = panel * tables_.groups + column / kChunkColumns / tables_.group_chunks;
  return word_at(tables_, group_index, row % kPanelRows, indices_->access(matrix, row, column));
}

void row_palette_linear(const RowPaletteView& view, const KernelTable& table, const Rows& rows, int threads) {
  // Tables of more than sixteen words do not fit registers: words are looked up once for all rows of x.
  const int bits = view.lines == nullptr ? 8 : view.lines->bits();
  const TableGroups groups(view.tables, bits);
  row_fields_linear({view.words, view.lines, groups, bits == 8 ? 0 : kRowFieldRows}, table, rows, threads);
}

}  // namespace tersely
