// See sequence.hpp. Decoding is that of matrices: a segment is one panel of as many chunks as it has groups.
#include "tersely/codes/words/split/sequence.hpp"

#include <algorithm>
#include <atomic>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/codes/opening.hpp"
#include "tersely/codes/words/split/encode_tiles.hpp"

namespace tersely {
namespace {

constexpr int64_t kTileColumns = kTileChunks * kChunkColumns;

// Splits eight groups of words, or those that are left; returns how many. The rest of the tile is zeros.
template <DType D>
int64_t split_groups(const uint8_t* words, int64_t group, int64_t end, const KernelTable& table, SplitTile& pieces,
                     uint32_t& tail_bits) {
  using W = Word<D>;
  W rows[16][kTileColumns] = {};
  const int64_t c = std::min(kTileChunks, end - group);
  const W* from = reinterpret_cast<const W*>(words) + group * kChunkWeights;
  for (int64_t j = 0; j < c; ++j)
    for (int column = 0; column < 4; ++column)
      for (int row = 0; row < 16; ++row)
        rows[row][j * 4 + column] = from[j * kChunkWeights + vector_position(D, row, column)];
  tail_bits |= table.split_words(D, reinterpret_cast<const uint8_t*>(rows), sizeof rows[0], pieces);
  return c;
}

template <DType D>
SequenceStatistics statistics(const uint8_t* words, const uint64_t* starts, int64_t segments, uint32_t* histograms,
                              const KernelTable& table, int threads) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  std::atomic<uint32_t> all_or{0}, all_and{255}, all_tail{0};
  parallel_for(threads, segments, [&](int64_t segment) {
    SplitTile pieces;
    uint32_t any = 0, every = 255, tail_bits = 0;
    uint32_t* counts = histograms + segment * 256;
    std::fill(counts, counts + 256, 0);
    const auto end = static_cast<int64_t>(starts[segment + 1]);
    for (auto group = static_cast<int64_t>(starts[segment]); group < end; group += kTileChunks) {
      const int64_t c = split_groups<D>(words, group, end, table, pieces, tail_bits);
      for (int64_t j = 0; j < c; ++j)
        for (int i = 0; i < 64; ++i) {
          ++counts[pieces.symbols[j][i]];
          if (f.has_byte) any |= pieces.bytes[j][i], every &= pieces.bytes[j][i];
        }
    }
    all_or.fetch_or(any, std::memory_order_relaxed);
    all_and.fetch_and(every, std::memory_order_relaxed);
    all_tail.fetch_or(tail_bits, std::memory_order_relaxed);
  });
  const uint32_t tail = all_tail.load();
  return {f.has_byte && all_or == all_and ? static_cast<int>(all_or.load()) : -1, tail == 0              ? 0
                                                                                  : (tail & 0x1FFF) != 0 ? 2
                                                                                                         : 1};
}

template <DType D>
const char* encode(const uint8_t* words, const uint64_t* starts, int64_t segments, const Parameters& p,
                   const MutableStreams& s, const KernelTable& table, int threads) {
  uint8_t ranks[256];
  int length;
  symbol_ranks(p, ranks, length);
  std::atomic<const char*> wrong{nullptr};
  parallel_for(threads, segments, [&](int64_t segment) {
    SplitTile pieces;
    Survivors survivors;
    uint32_t tail_bits = 0;
    const auto end = static_cast<int64_t>(starts[segment + 1]);
    uint8_t* out = s.tiles + static_cast<int64_t>(starts[segment]) * p.chunk_bytes[0];
    for (auto group = static_cast<int64_t>(starts[segment]); group < end; group += kTileChunks) {
      const int64_t c = split_groups<D>(words, group, end, table, pieces, tail_bits);
      out = write_tile<D>(pieces, c, p, p.tail, table, ranks, out, survivors);
    }
    if (const char* component = finish_segment(p, table, ranks, s, segment, survivors)) wrong = component;
  });
  return wrong.load();
}

}  // namespace

SequenceStatistics sequence_statistics(const uint8_t* words, const uint64_t* starts, int64_t segments, DType dtype,
                                       uint32_t* histograms, const KernelTable& table, int threads) {
  switch (dtype) {
    case DType::kFloat32:
      return statistics<DType::kFloat32>(words, starts, segments, histograms, table, threads);
    case DType::kBfloat16:
      return statistics<DType::kBfloat16>(words, starts, segments, histograms, table, threads);
    case DType::kFloat8E4M3:
      return statistics<DType::kFloat8E4M3>(words, starts, segments, histograms, table, threads);
    case DType::kFloat8E5M2:
      return statistics<DType::kFloat8E5M2>(words, starts, segments, histograms, table, threads);
    case DType::kIndex:
      return statistics<DType::kIndex>(words, starts, segments, histograms, table, threads);
    default:
      return statistics<DType::kFloat16>(words, starts, segments, histograms, table, threads);
  }
}

const char* sequence_encode(const uint8_t* words, const uint64_t* starts, int64_t segments, const Parameters& p,
                            const MutableStreams& s, const KernelTable& table, int threads) {
  switch (p.dtype) {
    case DType::kFloat32:
      return encode<DType::kFloat32>(words, starts, segments, p, s, table, threads);
    case DType::kBfloat16:
      return encode<DType::kBfloat16>(words, starts, segments, p, s, table, threads);
    case DType::kFloat8E4M3:
      return encode<DType::kFloat8E4M3>(words, starts, segments, p, s, table, threads);
    case DType::kFloat8E5M2:
      return encode<DType::kFloat8E5M2>(words, starts, segments, p, s, table, threads);
    case DType::kIndex:
      return encode<DType::kIndex>(words, starts, segments, p, s, table, threads);
    default:
      return encode<DType::kFloat16>(words, starts, segments, p, s, table, threads);
  }
}

SplitValues::SplitValues(const Node& node, DType dtype, const Components& components,
                         const std::vector<uint64_t>& groups) {
  require(node.formulation == "split", "these values are under 'split' only");
  coded_.parameters = split_parameters(node.parameters, dtype);
  require(!coded_.parameters.has_short, "values have one tail");
  const int64_t tiles = checked_product(static_cast<int64_t>(groups.back()), coded_.parameters.chunk_bytes[0]);
  const auto segments = static_cast<int64_t>(groups.size()) - 1;
  coded_.streams = split_streams(coded_.parameters, components, tiles, segments, kSegmentChunks);
}

void SplitValues::begin(const KernelTable& table, const ValueGroups& groups, uint8_t* scratch, Cursor& cursor) const {
  cursor = {coded_.streams.tiles + groups.first * coded_.parameters.chunk_bytes[0], nullptr, nullptr};
  table.expand_levels(coded_, groups.segment, scratch, cursor);
}

void SplitValues::next(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const {
  const Parameters& p = coded_.parameters;
  const auto& kernels = table.codes[static_cast<int>(p.dtype)][code_index(p)][static_cast<int>(p.tail)];
  kernels.decode_words(p, cursor, groups, out);
}

}  // namespace tersely
