// The formulation `affine`: a weight is scale x (number - zero), with a scale for each row or for each group of a row's
// columns. Numbers lie in row fields, or are bytes under a code of split. FORMAT: docs/FORMAT.md, "Scales and tables by
// rows".
#pragma once

#include <memory>

#include "tersely/backends/cpu/kernels/affine_groups.hpp"
#include "tersely/backends/cpu/kernels/row_fields_layout.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"

namespace tersely {

// Streams that have passed validation. A *place* of a panel's group is panel x groups + group.
struct AffineScales {
  DType dtype;            // of scales: float32, bfloat16 or float16
  const uint8_t* scales;  // [places][16]
  const uint8_t* zeros;   // little-endian i16 likewise, or null: all are `zero`
  int32_t zero;
  int64_t group_chunks;       // chunks of a group; the last of a panel may have fewer
  int64_t groups;             // of a panel
  const uint8_t* signs;       // a bit for each weight whose number is its zero: whether it is -0.0; null: none is
  const uint64_t* directory;  // [segments + 1], bytes of signs
};

// Scales and zeros of neighbouring places as floats, [count][16] each.
void widen_scales(const AffineScales& scales, const KernelTable& table, int64_t place, int64_t count, float* out);
void widen_zeros(const AffineScales& scales, int64_t place, int64_t count, float* out);
int32_t zero_at(const AffineScales& scales, int64_t place, int64_t row);

// Columns of a group, 0 for all, as chunks; and the groups of a panel. Throws std::invalid_argument for other columns.
int64_t group_chunks_of(const Geometry& geometry, int64_t columns);
inline int64_t groups_of(const Geometry& geometry, int64_t group_chunks) {
  return ceil_div(geometry.chunks_per_panel, group_chunks);
}

// Numbers as bytes, and what the rows of each group have in common, which kernels take together.
class AffineSource final : public Source {
 public:
  // from_zero: what `numbers` has is number - zero, modulo 256.
  AffineSource(const Geometry& geometry, DType dtype, const AffineScales& scales,
               std::shared_ptr<const SymbolSource> numbers, bool from_zero);
  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const override;
  uint32_t access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const override;

 private:
  void mark_negative_zeros(const KernelTable& table, int64_t segment, const AffineGroup* groups,
                           uint8_t* numbers) const;
  void add_zeros(const KernelTable& table, int64_t segment, const AffineGroup* groups, uint8_t* numbers) const;

  const Geometry geometry_;
  const AffineScales scales_;
  const std::shared_ptr<const SymbolSource> numbers_;
  const bool from_zero_;
};

// The zero from which sparse numbers count as signed bytes do: kernels take them as they lie.
constexpr int32_t kSignedZero = 128;

// Sparse numbers whose zero is kSignedZero, which kernels spread and scale in registers.
class SparseAffineSource final : public Source {
 public:
  // numbers: masks and the bytes under them.
  SparseAffineSource(const Geometry& geometry, DType dtype, const AffineScales& scales,
                     std::unique_ptr<const Source> numbers);
  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const override;
  void make_ready(const KernelTable& table, int64_t chunks, uint8_t* scratch, Cursor& cursor) const override {
    numbers_->make_ready(table, chunks, scratch, cursor);
  }
  uint32_t access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const override;

 private:
  const Geometry geometry_;
  const AffineScales scales_;
  const std::unique_ptr<const Source> numbers_;
};

// Numbers in row fields.
class RowFieldNumbers : public SymbolSource {
 public:
  // The component `name`; bits: of a field, 1, 2, 4 or 8.
  RowFieldNumbers(const Geometry& geometry, const Components& components, const std::string& name, int64_t bits);
  void expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* indices) const override;
  uint8_t access(int64_t matrix, int64_t row, int64_t column) const override;
  // The lines of a panel's segment, counted in the panel; and how many each row has.
  const uint8_t* part(int64_t panel, int64_t segment) const;
  int64_t lines_per_row(int64_t segment) const;
  int bits() const { return bits_; }

 private:
  const Geometry geometry_;
  const int bits_;
  const uint8_t* lines_;
};

// What a node of affine or row_palette keeps its numbers in: lines, or a child under split or sparse.
struct SmallNumbers {
  std::shared_ptr<const SymbolSource> source;
  const RowFieldNumbers* lines = nullptr;  // null: they are coded
};
SmallNumbers small_numbers(const Geometry& geometry, const Node& node, const Components& components,
                           const std::string& name);

struct AffineView {
  const MatrixView& words;       // over an AffineSource
  const RowFieldNumbers* lines;  // null: numbers are coded
  const AffineScales& scales;
};

// y = x w^T. Few rows of x are multiplied by row fields as they are.
void affine_linear(const AffineView& view, const KernelTable& table, const Rows& rows, int threads);

// What scales and numbers a tensor's words are made of; FORMAT does not depend on it. Arrays as in AffineScales.
// scales: for float32, bfloat16 and float16, NaN where no scale of that dtype gives the words back.
// low, high: i16, the least and largest number minus zero of each row of each group; zeros for padding.
struct AffineFit {
  float* scales[3];
  int16_t* low;
  int16_t* high;
  bool negative_zeros;
};
// False: the words are none, at this many columns a group.
bool affine_fit(const uint8_t* words, DType dtype, const Geometry& geometry, int64_t group_chunks, AffineFit& fit,
                int threads);
// Numbers up to `most`, a byte each in the tensor's shape, and for each whether it is -0.0, if `negative` is not null.
// Scales are float32. Returns whether every word has a number.
bool affine_numbers(const uint8_t* words, DType dtype, const Geometry& geometry, const AffineScales& scales, int most,
                    uint8_t* numbers, uint8_t* negative, int threads);
// Packs numbers, bytes of the tensor's shape, into lines.
void affine_row_fields(const uint8_t* numbers, const Geometry& geometry, int bits, uint8_t* out, int threads);
// Bytes of lines of a panel.
int64_t panel_line_bytes(const Geometry& geometry, int bits);
// Bytes of signs of each segment, or the signs, zeroed before, where `scales` has a directory.
void affine_signs(const uint8_t* numbers, const uint8_t* negative, const Geometry& geometry, const AffineScales& scales,
                  uint64_t* bytes, uint8_t* signs, int threads);

}  // namespace tersely
