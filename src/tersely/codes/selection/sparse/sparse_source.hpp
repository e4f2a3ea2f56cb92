// Chunks of which some places hold a value: a source for each way to say which, over values that lie as they are or
// that another formulation codes.
#pragma once

#include <memory>
#include <vector>

#include "tersely/backends/cpu/matrix/description.hpp"
#include "tersely/backends/cpu/matrix/sources.hpp"
#include "tersely/codes/selection/sparse/elias_fano.hpp"

namespace tersely {

// Where a sparse matrix's values are. counts: of values before each segment, [segments + 1]; they lie in whole groups
// where they are coded.
class SparseSource : public Source {
 public:
  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const final;
  void make_ready(const KernelTable& table, int64_t chunks, uint8_t* scratch, Cursor& cursor) const final;

 protected:
  SparseSource(const Geometry& geometry, const Parameters& parameters);
  // The values of a node's child `values`. starts: before each segment; dtype: as descriptions have it.
  void take_values(const Node& node, const std::string& dtype, const Components& components, const uint64_t* starts);
  // Points the cursor's tile at what says where the values of a segment are.
  virtual void begin_positions(int64_t segment, uint8_t* scratch, Cursor& cursor) const = 0;
  // Values that the next chunks have.
  virtual int64_t count_values(const KernelTable& table, int64_t chunks, const Cursor& cursor) const;
  // Value `index` of a segment; zero bits beyond its end, only in a damaged file.
  uint32_t value_at(int64_t segment, uint64_t index) const;
  static uint64_t* masks_in(uint8_t* scratch) {
    return reinterpret_cast<uint64_t*>(scratch + kLevelsScratchBytes + kValuesScratchBytes);
  }

  const Geometry geometry_;

 private:
  const Palette* masked_palette(const KernelTable& table) const;

  const uint64_t* starts_ = nullptr;
  const uint8_t* words_ = nullptr;             // null where values are coded
  std::unique_ptr<const ValueSource> values_;  // null where they lie as they are
};

// A mask word for each chunk, in vector order.
class BitmapSource final : public SparseSource {
 public:
  BitmapSource(const Geometry& geometry, const Node& node, const std::string& dtype, const Components& components);
  // By rank: the popcounts of its segment's masks before it.
  uint32_t access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const override;

 protected:
  void begin_positions(int64_t segment, uint8_t* scratch, Cursor& cursor) const override;

 private:
  const uint8_t* mask(int64_t panel, int64_t chunk) const {
    return masks_ + (panel * geometry_.chunks_per_panel + chunk) * 8;
  }
  const uint8_t* masks_;
};

// The same places as Elias and Fano code a rising sequence.
class EliasFanoSource final : public SparseSource {
 public:
  EliasFanoSource(const Geometry& geometry, const Node& node, const std::string& dtype, const Components& components);
  uint32_t access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const override;

 protected:
  void begin_positions(int64_t segment, uint8_t* scratch, Cursor& cursor) const override;

 private:
  std::vector<uint64_t> upper_starts_;
  std::unique_ptr<const EliasFano> positions_;
};

// Codes of n columns among each m of a row.
class NOfMSource final : public SparseSource {
 public:
  NOfMSource(const Geometry& geometry, const Node& node, const std::string& dtype, const Components& components);
  uint32_t access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const override;

 protected:
  void begin_positions(int64_t segment, uint8_t* scratch, Cursor& cursor) const override;
  int64_t count_values(const KernelTable& table, int64_t chunks, const Cursor& cursor) const override;

 private:
  const uint8_t* codes_;
  std::vector<uint64_t> starts_;
};

// The source of a node of sparse whose positions are masks in any form; gaps have none.
std::unique_ptr<const Source> sparse_source(const Geometry& geometry, const Node& node, const std::string& dtype,
                                            const Components& components);

// What kernels and encoders take of n_of_m. Throws std::invalid_argument for parameters that are none.
Parameters n_of_m_parameters(const Json& json, DType dtype, const Geometry& geometry);

// Values of sparse under a node, counted by groups before each segment; null where they are dense.
std::unique_ptr<const ValueSource> coded_values(const Node& node, const std::string& dtype,
                                                const Components& components, const std::vector<uint64_t>& groups);

}  // namespace tersely
