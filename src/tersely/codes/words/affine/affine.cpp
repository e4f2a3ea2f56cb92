// See affine.hpp.
#include "tersely/codes/words/affine/affine.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/selection/sparse/sparse_source.hpp"
#include "tersely/codes/words/affine/panels.hpp"
#include "tersely/codes/words/affine/words.hpp"
#include "tersely/codes/words/split/split_source.hpp"

namespace tersely {
namespace {

Parameters affine_parameters(DType dtype, SymbolCode code = SymbolCode::kAffine) {
  Parameters p{};
  p.dtype = dtype;
  p.code = code;
  return p;
}

// The groups of a segment, which has at most kSegmentChunks: a group has four chunks or a panel's all.
AffineGroup* expand_groups(const Geometry& g, const AffineScales& scales, const KernelTable& table, int64_t segment,
                           uint8_t* memory) {
  auto* groups = reinterpret_cast<AffineGroup*>(memory);
  const SegmentPart part = segment_part(g, segment);
  AffineGroup* out = groups;
  for (int64_t panel = part.first_panel; panel < part.first_panel + part.panels; ++panel)
    for (int64_t chunk = 0; chunk < part.chunks;) {
      const int64_t group = (part.first_chunk + chunk) / scales.group_chunks;
      const int64_t place = panel * scales.groups + group;
      widen_scales(scales, table, place, 1, out->scales);
      widen_zeros(scales, place, 1, out->zeros);
      out->chunks =
          std::min((group + 1) * scales.group_chunks, part.first_chunk + part.chunks) - part.first_chunk - chunk;
      chunk += out++->chunks;
    }
  return groups;
}

// Reads bits one by one, zeros beyond the end.
class Bits {
 public:
  Bits(const uint8_t* bytes, uint64_t first, uint64_t last) : at_(bytes + first), left_((last - first) * 8) {}
  bool next() {
    // SAFE BECAUSE: how many weights have the number zero is payload, and may be more than there are bits.
    if (left_ == 0) return false;
    const bool bit = (*at_ >> shift_ & 1) != 0;
    --left_;
    if (++shift_ == 8) shift_ = 0, ++at_;
    return bit;
  }

 private:
  const uint8_t* at_;
  uint64_t left_;
  int shift_ = 0;
};

}  // namespace

void widen_scales(const AffineScales& scales, const KernelTable& table, int64_t place, int64_t count, float* out) {
  if (scales.dtype == DType::kFloat32) {
    std::memcpy(out, scales.scales + place * kPanelRows * 4, static_cast<size_t>(count * kPanelRows) * 4);
  } else {
    table.widen_words(scales.dtype, scales.scales + place * kPanelRows * 2, count * kPanelRows, out);
  }
}

void widen_zeros(const AffineScales& scales, int64_t place, int64_t count, float* out) {
  if (scales.zeros == nullptr) {
    std::fill_n(out, count * kPanelRows, static_cast<float>(scales.zero));
    return;
  }
  for (int64_t i = 0; i < count * kPanelRows; ++i) {
    int16_t zero;
    std::memcpy(&zero, scales.zeros + (place * kPanelRows + i) * 2, 2);
    out[i] = static_cast<float>(zero);
  }
}

int32_t zero_at(const AffineScales& scales, int64_t place, int64_t row) {
  if (scales.zeros == nullptr) return scales.zero;
  int16_t zero;
  std::memcpy(&zero, scales.zeros + (place * kPanelRows + row) * 2, 2);
  return zero;
}

int64_t RowFieldNumbers::lines_per_row(int64_t segment) const {
  const int64_t columns = std::min(kSegmentColumns, geometry_.columns - segment * kSegmentColumns);
  return ceil_div(columns, line_columns(bits_));
}

const uint8_t* RowFieldNumbers::part(int64_t panel, int64_t segment) const {
  const int64_t before = segment * (kSegmentColumns / line_columns(bits_)) * kPanelRows * kLineBytes;
  return lines_ + panel * panel_line_bytes(geometry_, bits_) + before;
}

void RowFieldNumbers::expand(const KernelTable& table, int64_t segment, uint8_t*, uint8_t* indices) const {
  const SegmentPart part = segment_part(geometry_, segment);
  const int64_t inside = segment % geometry_.segments_per_panel, lines = lines_per_row(inside);
  // Whole lines of columns, most of a panel's last one beyond its chunks.
  alignas(64) static thread_local uint8_t last[kPanelRows * line_columns(1)];
  const int64_t step = line_columns(bits_) * kPanelRows, bytes = part.chunks * kChunkWeights;
  for (int64_t panel = 0; panel < part.panels; ++panel) {
    const uint8_t* from = this->part(part.first_panel + panel, inside);
    uint8_t* to = indices + panel * bytes;
    const int64_t whole = bytes / step;
    table.expand_row_fields(from, lines, 0, whole, bits_, to);
    if (whole == lines) continue;
    table.expand_row_fields(from, lines, whole, whole + 1, bits_, last);
    std::memcpy(to + whole * step, last, static_cast<size_t>(bytes - whole * step));
  }
}

uint8_t RowFieldNumbers::access(int64_t matrix, int64_t row, int64_t column) const {
  const int64_t panel = matrix * geometry_.panels_per_matrix + row / kPanelRows;
  const int64_t segment = geometry_.segments_per_panel == 1 ? 0 : column / kSegmentColumns;
  const uint8_t* at = part(panel, segment) + row % kPanelRows * lines_per_row(segment) * kLineBytes;
  return line_field(at, bits_, column - segment * kSegmentColumns);
}

int64_t panel_line_bytes(const Geometry& g, int bits) {
  return ceil_div(g.columns, line_columns(bits)) * kPanelRows * kLineBytes;
}

RowFieldNumbers::RowFieldNumbers(const Geometry& geometry, const Components& components, const std::string& name,
                                 int64_t bits)
    : geometry_(geometry), bits_(static_cast<int>(bits)) {
  require(bits == 1 || bits == 2 || bits == 4 || bits == 8, "lines have fields of 1, 2, 4 or 8 bits");
  lines_ = components.stream(name, checked_product(geometry.panels, panel_line_bytes(geometry, bits_)));
}

SmallNumbers small_numbers(const Geometry& geometry, const Node& node, const Components& components,
                           const std::string& name) {
  if (!node.children.empty()) {
    const Node& child = node.child(name);
    if (child.formulation != "sparse")
      return {std::make_shared<SplitSymbols>(geometry, child, components.under(name)), nullptr};
    auto source = sparse_source(geometry, child, "uint8", components.under(name));
    return {std::make_shared<SourceSymbols>(geometry, std::move(source)), nullptr};
  }
  auto lines = std::make_shared<RowFieldNumbers>(geometry, components, name, node.parameters.at("bits").number());
  const RowFieldNumbers* own = lines.get();
  return {std::move(lines), own};
}

int64_t group_chunks_of(const Geometry& g, int64_t columns) {
  require(columns >= 0 && columns % kStepColumns == 0 && columns <= kSegmentColumns,
          "a group has whole blocks of columns, or all");
  return columns == 0 ? std::max<int64_t>(1, g.chunks_per_panel) : columns / kChunkColumns;
}

void AffineSource::mark_negative_zeros(const KernelTable& table, int64_t segment, const AffineGroup* groups,
                                       uint8_t* numbers) const {
  const SegmentPart part = segment_part(geometry_, segment);
  const int64_t last_columns = geometry_.columns - (geometry_.chunks_per_panel - 1) * kChunkColumns;
  Bits bits(scales_.signs, scales_.directory[segment], scales_.directory[segment + 1]);
  for (int64_t panel = part.first_panel; panel < part.first_panel + part.panels; ++panel) {
    const int64_t rows = geometry_.rows - panel % geometry_.panels_per_matrix * kPanelRows;
    for (int64_t chunk = 0; chunk < part.chunks; ++groups) {
      uint8_t zeros[16];
      uint64_t real = 0;
      for (int64_t row = 0; row < std::min(rows, kPanelRows); ++row) {
        const float zero = groups->zeros[row];
        const bool is_number = zero >= 0 && zero < kNegativeZero;
        zeros[row] = is_number ? static_cast<uint8_t>(zero) : 0;
        real |= static_cast<uint64_t>(is_number) << row;
      }
      for (int64_t row = std::min(rows, kPanelRows); row < kPanelRows; ++row) zeros[row] = 0;
      real *= 0x0001000100010001u;
      for (int64_t end = chunk + groups->chunks; chunk < end; ++chunk, numbers += kChunkWeights) {
        uint64_t found = table.equal_bytes(numbers, zeros) & real;
        if (part.first_chunk + chunk + 1 == geometry_.chunks_per_panel && last_columns < kChunkColumns)
          found &= (uint64_t{1} << last_columns * 16) - 1;
        for (; found != 0; found &= found - 1)
          if (bits.next()) numbers[std::countr_zero(found)] = kNegativeZero;
      }
    }
  }
}

// Group by group, the rows of which have their zeros.
void AffineSource::add_zeros(const KernelTable& table, int64_t segment, const AffineGroup* groups,
                             uint8_t* numbers) const {
  const SegmentPart part = segment_part(geometry_, segment);
  for (int64_t left = part.panels * part.chunks; left > 0; left -= groups->chunks, ++groups) {
    uint8_t zeros[16];
    for (int row = 0; row < 16; ++row) zeros[row] = static_cast<uint8_t>(static_cast<int32_t>(groups->zeros[row]));
    table.add_bytes(numbers, groups->chunks, zeros);
    numbers += groups->chunks * kChunkWeights;
  }
}

AffineSource::AffineSource(const Geometry& geometry, DType dtype, const AffineScales& scales,
                           std::shared_ptr<const SymbolSource> numbers, bool from_zero)
    : Source(affine_parameters(dtype)),
      geometry_(geometry),
      scales_(scales),
      numbers_(std::move(numbers)),
      from_zero_(from_zero) {}

void AffineSource::begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const {
  uint8_t* numbers = scratch + kLevelsScratchBytes;
  numbers_->expand(table, segment, scratch, numbers);
  // Behind the numbers in scratch. SAFE BECAUSE: the room for values holds the numbers and as many groups.
  static_assert(kSegmentWeights + kSegmentChunks * sizeof(AffineGroup) <= kValuesScratchBytes);
  const AffineGroup* groups = expand_groups(geometry_, scales_, table, segment, numbers + kSegmentWeights);
  if (from_zero_) add_zeros(table, segment, groups, numbers);
  if (scales_.signs != nullptr) mark_negative_zeros(table, segment, groups, numbers);
  cursor.tile = numbers;
  cursor.group = groups;
  cursor.group_left = groups->chunks;
  cursor.negative_zeros = scales_.signs != nullptr;
}

uint32_t AffineSource::access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const {
  const Geometry& g = geometry_;
  const int64_t panel = matrix * g.panels_per_matrix + row / kPanelRows, chunk = column / kChunkColumns;
  const int64_t place = panel * scales_.groups + chunk / scales_.group_chunks;
  const int32_t zero = zero_at(scales_, place, row % kPanelRows);
  int32_t number = numbers_->access(matrix, row, column);
  if (from_zero_) number = (number + zero) & 255;
  // As kernels have it: only in a damaged file, since encoders leave this number to -0.0.
  if (number == kNegativeZero && scales_.signs != nullptr) return word_of(parameters_.dtype, -0.0F);
  float scales[16];
  widen_scales(scales_, table, place, 1, scales);
  if (number == zero && scales_.signs != nullptr) {
    // Which of the segment's signs this one is, only the numbers before it say.
    static thread_local Scratch scratch;
    const ChunkInSegment at = chunk_in_segment(g, panel, column);
    Cursor cursor{nullptr, nullptr, nullptr};
    begin(table, at.segment, scratch.get<uint8_t>(kExpandScratchBytes), cursor);
    if (cursor.tile[at.chunk * kChunkWeights + column % kChunkColumns * 16 + row % kPanelRows] == kNegativeZero)
      return word_of(parameters_.dtype, -0.0F);
  }
  return word_of(parameters_.dtype, scales[row % kPanelRows] * (static_cast<float>(number) - static_cast<float>(zero)));
}

SparseAffineSource::SparseAffineSource(const Geometry& geometry, DType dtype, const AffineScales& scales,
                                       std::unique_ptr<const Source> numbers)
    : Source(affine_parameters(dtype, SymbolCode::kSparseAffine)),
      geometry_(geometry),
      scales_(scales),
      numbers_(std::move(numbers)) {
  step_ = numbers_->step();
}

void SparseAffineSource::begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const {
  numbers_->begin(table, segment, scratch, cursor);
  // Behind the values that are decoded there, and their slack. SAFE BECAUSE: both have room.
  constexpr int64_t kBefore = kSegmentWeights + kSlackBytes;
  static_assert(kBefore + kSegmentChunks * sizeof(AffineGroup) <= kValuesScratchBytes && kBefore % 64 == 0);
  cursor.group = expand_groups(geometry_, scales_, table, segment, scratch + kLevelsScratchBytes + kBefore);
  cursor.group_left = cursor.group->chunks;
}

uint32_t SparseAffineSource::access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const {
  const int64_t panel = matrix * geometry_.panels_per_matrix + row / kPanelRows;
  const int64_t place = panel * scales_.groups + column / kChunkColumns / scales_.group_chunks;
  float scales[16];
  widen_scales(scales_, table, place, 1, scales);
  const auto number = static_cast<int8_t>(numbers_->access(table, matrix, row, column));
  return word_of(parameters_.dtype, scales[row % kPanelRows] * static_cast<float>(number));
}

}  // namespace tersely
