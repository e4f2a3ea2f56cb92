// See sparse_source.hpp.
#include "tersely/codes/selection/sparse/sparse_source.hpp"

#include <bit>
#include <cstring>
#include <new>
#include <type_traits>

#include "tersely/backends/cpu/kernels/lookup.hpp"
#include "tersely/codes/opening.hpp"

namespace tersely {
namespace {

constexpr int64_t kReadyChunks = 64;        // that are walked at a time; whole tiles of every code
constexpr int64_t kReadyIndexGroups = 256;  // indices take 16 KB, and a call for fewer costs as much as unpacking them

// Values of a segment that another formulation codes are decoded shortly before they are taken: they are still in the
// first-level cache then, and what comes next is on its way from memory meanwhile.
struct Pending {
  Cursor cursor;
  int64_t groups;  // of the segment that are not decoded
};
static_assert(sizeof(Pending) <= kStateScratchBytes && std::is_trivially_destructible_v<Pending>);
Pending& pending_in(uint8_t* scratch) { return *std::launder(reinterpret_cast<Pending*>(scratch + kStateScratch)); }

Parameters bitmap_parameters(DType dtype) {
  Parameters p{};
  p.dtype = dtype;
  p.code = SymbolCode::kBitmap;
  return p;
}

uint64_t word_at(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, 8);
  return word;
}

}  // namespace

SparseSource::SparseSource(const Geometry& geometry, const Parameters& parameters)
    : Source(parameters), geometry_(geometry) {}

void SparseSource::take_values(const Node& node, const std::string& dtype, const Components& components,
                               const uint64_t* starts) {
  starts_ = starts;
  const Node& child = node.child("values");
  const int64_t word_bytes = kFields[static_cast<int>(parameters_.dtype)].word_bytes;
  if (child.formulation == "dense") {
    const auto count = static_cast<int64_t>(starts[geometry_.segments]);
    words_ = components.stream("values.bytes", checked_product(count, word_bytes));
    return;
  }
  std::vector<uint64_t> groups(static_cast<size_t>(geometry_.segments) + 1);
  for (size_t i = 0; i < groups.size(); ++i) {
    if (starts[i] % kChunkWeights != 0) components.refuse("directory", "has a segment of no whole groups of values");
    groups[i] = starts[i] / kChunkWeights;
  }
  values_ = coded_values(child, dtype, components.under("values"), groups);
  step_ = kReadyChunks;
}

void SparseSource::begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const {
  begin_positions(segment, scratch, cursor);
  const uint64_t first = starts_[segment], last = starts_[segment + 1];
  if (values_ == nullptr) {
    const auto word_bytes = static_cast<uint64_t>(kFields[static_cast<int>(parameters_.dtype)].word_bytes);
    cursor.survivors = words_ + first * word_bytes;
    cursor.survivors_end = words_ + last * word_bytes;
    return;
  }
  auto& pending = *new (scratch + kStateScratch) Pending{{nullptr, nullptr, nullptr}, 0};
  pending.groups = static_cast<int64_t>((last - first) / kChunkWeights);
  values_->begin(table, {segment, static_cast<int64_t>(first / kChunkWeights), pending.groups}, scratch,
                 pending.cursor);
  cursor.palette = masked_palette(table);
  // SAFE BECAUSE: a segment has at most kSegmentWeights values, and room for kSlackBytes follows.
  cursor.survivors = cursor.survivors_end = scratch + kLevelsScratchBytes;
}

void SparseSource::make_ready(const KernelTable& table, int64_t chunks, uint8_t* scratch, Cursor& cursor) const {
  Pending& pending = pending_in(scratch);
  if (pending.groups == 0) return;
  const int64_t word_bytes = cursor.palette != nullptr ? 1 : kFields[static_cast<int>(parameters_.dtype)].word_bytes;
  const int64_t wanted = chunks == kAllChunks ? pending.groups * kChunkWeights : count_values(table, chunks, cursor);
  const int64_t missing =
      chunks == kAllChunks ? wanted : wanted - (cursor.survivors_end - cursor.survivors) / word_bytes;
  if (missing <= 0) return;
  const int64_t least = cursor.palette != nullptr ? kReadyIndexGroups : 0;
  const int64_t needed = ceil_div(missing, kTileChunks * kChunkWeights) * kTileChunks;
  const int64_t groups = std::min(pending.groups, std::max(needed, least));
  uint8_t* words = scratch + kLevelsScratchBytes;
  uint8_t* to = words + (cursor.survivors_end - words);
  if (cursor.palette != nullptr) {
    values_->next_indices(table, pending.cursor, groups, to);
  } else {
    values_->next(table, pending.cursor, groups, to);
  }
  pending.groups -= groups;
  cursor.survivors_end += groups * kChunkWeights * word_bytes;
}

// The words that the kernels of bitmaps look up themselves; null where they take the words.
const Palette* SparseSource::masked_palette(const KernelTable& table) const {
  const Palette* found = values_->palette();
  const bool fits = found != nullptr && found->index_bits >= kMinMaskedIndexBits &&
                    found->index_bits <= kMaxMaskedIndexBits && table.unpack_indices != nullptr;
  return fits && parameters_.code == SymbolCode::kBitmap && parameters_.dtype == DType::kFloat32 ? found : nullptr;
}

int64_t SparseSource::count_values(const KernelTable& table, int64_t chunks, const Cursor& cursor) const {
  return table.count_bits(cursor.tile, chunks);
}

uint32_t SparseSource::value_at(int64_t segment, uint64_t index) const {
  const uint64_t first = starts_[segment], count = starts_[segment + 1] - first;
  if (index >= count) return 0;
  if (values_ != nullptr)
    return values_->access(
        {segment, static_cast<int64_t>(first / kChunkWeights), static_cast<int64_t>(count / kChunkWeights)},
        static_cast<int64_t>(index));
  const auto word_bytes = static_cast<size_t>(kFields[static_cast<int>(parameters_.dtype)].word_bytes);
  uint32_t word = 0;
  std::memcpy(&word, words_ + (first + index) * word_bytes, word_bytes);
  return word;
}

BitmapSource::BitmapSource(const Geometry& g, const Node& node, const std::string& dtype, const Components& components)
    : SparseSource(g, bitmap_parameters(sparse_dtype(dtype))),
      masks_(components.stream("masks", checked_product(checked_product(g.panels, g.chunks_per_panel), 8))) {
  take_values(node, dtype, components, components.directory(g.segments, 1, kSegmentWeights));
}

void BitmapSource::begin_positions(int64_t segment, uint8_t*, Cursor& cursor) const {
  const SegmentPart part = segment_part(geometry_, segment);
  cursor.tile = mask(part.first_panel, part.first_chunk);
}

uint32_t BitmapSource::access(const KernelTable&, int64_t matrix, int64_t row, int64_t column) const {
  const Geometry& g = geometry_;
  const int64_t panel = matrix * g.panels_per_matrix + row / kPanelRows, chunk = column / kChunkColumns;
  const int place = vector_position(parameters_.dtype, static_cast<int>(row % 16), static_cast<int>(column % 4));
  const uint64_t own = word_at(mask(panel, chunk)), bit = uint64_t{1} << place;
  if ((own & bit) == 0) return 0;
  const int64_t segment = chunk_in_segment(g, panel, column).segment;
  const SegmentPart part = segment_part(g, segment);
  auto rank = static_cast<uint64_t>(std::popcount(own & (bit - 1)));
  for (int64_t q = part.first_panel; q <= panel; ++q)
    for (int64_t j = part.first_chunk; j < (q == panel ? chunk : part.first_chunk + part.chunks); ++j)
      rank += static_cast<uint64_t>(std::popcount(word_at(mask(q, j))));
  return value_at(segment, rank);
}

EliasFanoSource::EliasFanoSource(const Geometry& g, const Node& node, const std::string& dtype,
                                 const Components& components)
    : SparseSource(g, bitmap_parameters(sparse_dtype(dtype))), upper_starts_(static_cast<size_t>(g.segments) + 1) {
  const int64_t low_bits = node.parameters.at("low_bits").number();
  require(low_bits >= 0 && low_bits <= 15, "low_bits out of range");
  const uint64_t* directory = components.directory(g.segments, 1, kSegmentWeights);
  for (int64_t segment = 0; segment < g.segments; ++segment) {
    const SegmentPart part = segment_part(g, segment);
    const int64_t places = part.panels * part.chunks * kChunkWeights;
    const uint64_t bits =
        static_cast<uint64_t>(ceil_div(places, int64_t{1} << low_bits)) + directory[segment + 1] - directory[segment];
    upper_starts_[static_cast<size_t>(segment) + 1] = upper_starts_[static_cast<size_t>(segment)] + (bits + 63) / 64;
  }
  const auto values = static_cast<int64_t>(directory[g.segments]);
  const uint8_t* upper = components.stream("upper", checked_product(static_cast<int64_t>(upper_starts_.back()), 8));
  const uint8_t* lower = components.stream("lower", ceil_div(checked_product(values, low_bits), 8));
  positions_ = std::make_unique<EliasFano>(
      EliasFano::Streams{upper, lower, directory, upper_starts_.data(), static_cast<int>(low_bits)});
  take_values(node, dtype, components, directory);
}

void EliasFanoSource::begin_positions(int64_t segment, uint8_t* scratch, Cursor& cursor) const {
  uint64_t* masks = masks_in(scratch);
  positions_->expand(segment, segment_chunks(geometry_, segment), masks);
  cursor.tile = reinterpret_cast<const uint8_t*>(masks);
}

uint32_t EliasFanoSource::access(const KernelTable&, int64_t matrix, int64_t row, int64_t column) const {
  const int64_t panel = matrix * geometry_.panels_per_matrix + row / kPanelRows;
  const ChunkInSegment at = chunk_in_segment(geometry_, panel, column);
  const int place = vector_position(parameters_.dtype, static_cast<int>(row % 16), static_cast<int>(column % 4));
  const int64_t value = positions_->find(at.segment, at.chunk * kChunkWeights + place);
  return value < 0 ? 0 : value_at(at.segment, static_cast<uint64_t>(value));
}

NOfMSource::NOfMSource(const Geometry& g, const Node& node, const std::string& dtype, const Components& components)
    : SparseSource(g, n_of_m_parameters(node.parameters, wide_dtype(dtype), g)),
      codes_(components.stream("codes", checked_product(g.panels, parameters_.panel_bytes))),
      starts_(static_cast<size_t>(g.segments) + 1) {
  const int64_t granule = node.child("values").formulation == "dense" ? 1 : kChunkWeights;
  for (int64_t segment = 0; segment < g.segments; ++segment) {
    const SegmentPart part = segment_part(g, segment);
    const int64_t values = part.panels * ceil_div(part.chunks * kChunkColumns, parameters_.m) * 16 * parameters_.n;
    starts_[static_cast<size_t>(segment) + 1] =
        starts_[static_cast<size_t>(segment)] + static_cast<uint64_t>(ceil_div(values, granule) * granule);
  }
  take_values(node, dtype, components, starts_.data());
}

void NOfMSource::begin_positions(int64_t segment, uint8_t*, Cursor& cursor) const {
  const SegmentPart part = segment_part(geometry_, segment);
  const int64_t blocks = part.first_chunk * kChunkColumns / parameters_.m;  // whole groups of eight
  cursor.tile = codes_ + part.first_panel * parameters_.panel_bytes + blocks / 8 * 16 * parameters_.n_of_m_bits;
}

int64_t NOfMSource::count_values(const KernelTable&, int64_t chunks, const Cursor&) const {
  return ceil_div(chunks * kChunkColumns, parameters_.m) * 16 * parameters_.n;
}

uint32_t NOfMSource::access(const KernelTable&, int64_t matrix, int64_t row, int64_t column) const {
  const Geometry& g = geometry_;
  const Parameters& p = parameters_;
  const int64_t panel = matrix * g.panels_per_matrix + row / kPanelRows, block = column / p.m;
  const int lane = static_cast<int>(row % kPanelRows);
  const uint8_t* at = codes_ + panel * p.panel_bytes + (block / 8 * 16 + lane) * static_cast<int64_t>(p.n_of_m_bits);
  uint64_t codes = 0;
  std::memcpy(&codes, at, static_cast<size_t>(p.n_of_m_bits));
  const unsigned chosen = p.selections[codes >> (block % 8 * p.n_of_m_bits) & ((1u << p.n_of_m_bits) - 1)];
  const unsigned bit = 1u << (column % p.m);
  if ((chosen & bit) == 0) return 0;
  const int64_t segment = chunk_in_segment(g, panel, column).segment;
  const SegmentPart part = segment_part(g, segment);
  const int64_t panel_blocks = ceil_div(part.chunks * kChunkColumns, p.m);
  const int64_t before = (panel - part.first_panel) * panel_blocks + block - part.first_chunk * kChunkColumns / p.m;
  const int64_t index = before * 16 * p.n + slot_position(p.dtype, p.n, lane, std::popcount(chosen & (bit - 1)));
  return value_at(segment, static_cast<uint64_t>(index));
}

Parameters n_of_m_parameters(const Json& json, DType dtype, const Geometry& g) {
  constexpr int kPatterns[3][3] = {{1, 4, 2}, {2, 4, 3}, {4, 8, 8}};  // n, m, bits of a code
  Parameters p{};
  p.dtype = dtype;
  p.code = SymbolCode::kNOfM;
  const int64_t n = json.at("n").number(), m = json.at("m").number();
  for (const auto& pattern : kPatterns)
    if (n == pattern[0] && m == pattern[1]) p.n_of_m_bits = pattern[2];
  require(p.n_of_m_bits != 0, "no such pattern of n_of_m");
  p.n = static_cast<int>(n);
  p.m = static_cast<int>(m);
  p.panel_bytes = ceil_div(ceil_div(g.chunks_per_panel * kChunkColumns, m), 8) * kPanelRows * p.n_of_m_bits;
  // The columns of each code as bits, in lexicographic order of the columns; codes beyond stand for the last.
  int codes = 0;
  const auto reversed = [&](unsigned bits) {
    unsigned found = 0;
    for (int i = 0; i < p.m; ++i) found |= (bits >> i & 1) << (p.m - 1 - i);
    return found;
  };
  for (int bits = (1 << p.m) - 1; bits >= 0; --bits)
    if (std::popcount(static_cast<unsigned>(bits)) == p.n)
      p.selections[codes++] = static_cast<uint8_t>(reversed(static_cast<unsigned>(bits)));
  for (; codes < 256; ++codes) p.selections[codes] = p.selections[codes - 1];
  return p;
}

}  // namespace tersely
