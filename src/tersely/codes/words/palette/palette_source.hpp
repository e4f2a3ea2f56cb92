// Words by index: a source for each way to keep the indices.
#pragma once

#include "tersely/codes/words/palette/palette.hpp"
#include "tersely/codes/words/split/split_source.hpp"

namespace tersely {

// The table of `entries` words in the component `table`.
class PaletteSource : public Source {
 protected:
  PaletteSource(const Geometry& geometry, DType dtype, const Components& components, int64_t entries);
  uint32_t word(int64_t index) const { return palette_.words.dwords[index & 255]; }

  const Geometry geometry_;
  Palette palette_;
};

// Indices packed in chunks, in the component `indices`.
class PackedPalette final : public PaletteSource {
 public:
  PackedPalette(const Geometry& geometry, DType dtype, const Components& components, int64_t entries);
  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const override;
  uint32_t access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const override;

 private:
  const uint8_t* chunk(int64_t panel, int64_t chunk) const {
    return packed_ + (panel * geometry_.chunks_per_panel + chunk) * 8 * palette_.index_bits;
  }
  const uint8_t* packed_;
};

// Indices under a code of split: kernels decode them themselves.
class CodedPalette final : public PaletteSource {
 public:
  // indices: the child.
  CodedPalette(const Geometry& geometry, DType dtype, const Components& components, int64_t entries,
               const Node& indices);
  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const override;
  uint32_t access(const KernelTable&, int64_t matrix, int64_t row, int64_t column) const override {
    return word(indices_.access(matrix, row, column));
  }

 private:
  const SplitSymbols indices_;
};

// Indices that come as bytes, whatever keeps them.
class HeldPalette final : public PaletteSource {
 public:
  HeldPalette(const Geometry& geometry, DType dtype, const Components& components, int64_t entries,
              std::unique_ptr<const SymbolSource> indices);
  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const override;
  uint32_t access(const KernelTable&, int64_t matrix, int64_t row, int64_t column) const override {
    return word(indices_->access(matrix, row, column));
  }

 private:
  const std::unique_ptr<const SymbolSource> indices_;
};

}  // namespace tersely
