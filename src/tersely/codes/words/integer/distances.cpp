// Products of 8-bit weights that are walked, folded distances or words: a block of chunks to bytes in vector order, in
// cache, where every batch row multiplies it; kernels unfold in registers. Nothing of the weights goes through memory
// but their code.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"
#include "tersely/codes/words/integer/slices.hpp"

namespace tersely {
namespace {

constexpr int64_t kBlockChunks = 128;
constexpr int64_t kBatchBlock = 64;  // batch rows whose sums are held at once; above, weights are decoded again

template <class Slice>
class WalkedProduct {
 public:
  WalkedProduct(const MatrixView& view, const KernelTable& table, const IntegerRows& rows, bool is_signed,
                MultiplyFolded<Slice> kernel, const Slices<Slice>& slices)
      : view_(view), table_(table), rows_(rows), is_signed_(is_signed), kernel_(kernel), slices_(slices) {}

  // Batch rows from `first` on with one unit's rows of the weights.
  void run(int64_t unit, int64_t first, int64_t batch) const {
    static thread_local Scratch scratch, sums_scratch;
    const Geometry& g = view_.geometry;
    const int64_t sum_count = batch * slices_.count * kPanelRows;
    auto* memory = scratch.get<uint8_t>(kExpand + kBlockChunks * kChunkWeights);
    auto* totals = sums_scratch.get<int64_t>(sum_count * (8 + 4));
    auto* sums = reinterpret_cast<int32_t*>(totals + sum_count);
    walk_unit(view_, table_, unit, memory,
              [&](int64_t panel, int64_t first_chunk, int64_t chunks, const CodeKernels& kernels, Cursor& cursor) {
                if (first_chunk == 0) std::memset(totals, 0, static_cast<size_t>(sum_count) * 8);
                std::memset(sums, 0, static_cast<size_t>(sum_count) * 4);
                const bool in_registers = batch == 1 && multiply_masked(cursor, first_chunk, chunks, first, sums);
                for (int64_t done = in_registers ? chunks : 0; done < chunks; done += kBlockChunks) {
                  const int64_t block = std::min(kBlockChunks, chunks - done);
                  kernels.decode_words(view_.source.parameters(), cursor, block, memory + kExpand);
                  multiply(memory + kExpand, first_chunk + done, block, first, batch, sums);
                }
                for (int64_t i = 0; i < sum_count; ++i) totals[i] += sums[i];
                if (first_chunk + chunks == g.chunks_per_panel) finish_panel(panel, first, batch, totals);
              });
  }

 private:
  static constexpr int64_t kExpand = (kExpandScratchBytes + 63) / 64 * 64;

  // Kernels take weights as 0 to 255: those of int8 are 128 too large there, which `finish_panel` makes up for.
  uint8_t centre() const {
    const int own = view_.folding == nullptr ? 0 : view_.folding->centre;
    return static_cast<uint8_t>(own + (is_signed_ ? 128 : 0));
  }

  SlicedRows<Slice> sliced(int64_t first_chunk, int64_t first, int64_t batch) const {
    return {slices_.row(first) + first_chunk * kChunkColumns, slices_.count * slices_.width, slices_.width,
            slices_.count, static_cast<int>(batch)};
  }

  void multiply(const uint8_t* bytes, int64_t first_chunk, int64_t chunks, int64_t first, int64_t batch,
                int32_t* sums) const {
    kernel_(bytes, chunks, centre(), sliced(first_chunk, first, batch), sums);
  }

  // Whether a kernel takes masks as they are, for one row of x, and has done so.
  bool multiply_masked(Cursor& cursor, int64_t first_chunk, int64_t chunks, int64_t first, int32_t* sums) const {
    if constexpr (sizeof(Slice) == 1) {
      if (view_.source.parameters().code != SymbolCode::kBitmap || table_.multiply_masked == nullptr) return false;
      table_.multiply_masked(cursor, chunks, centre(), sliced(first_chunk, first, 1), sums);
      return true;
    }
    return false;
  }

  void finish_panel(int64_t panel, int64_t first, int64_t batch, const int64_t* totals) const {
    const int64_t row = panel * kPanelRows, count = std::min(kPanelRows, view_.geometry.rows - row);
    for (int64_t b = 0; b < batch; ++b)
      finish(rows_, slices_, view_.geometry.rows, first + b, row, count, is_signed_ ? -128 : 0,
             totals + b * slices_.count * kPanelRows);
  }

  const MatrixView& view_;
  const KernelTable& table_;
  const IntegerRows& rows_;
  const bool is_signed_;
  const MultiplyFolded<Slice> kernel_;
  const Slices<Slice>& slices_;
};

template <class Slice>
bool multiply(const MatrixView& view, bool is_signed, const KernelTable& table, const IntegerRows& rows, int threads,
              MultiplyFolded<Slice> kernel) {
  const Geometry& g = view.geometry;
  Slices<Slice> slices{};
  if (!quantise_x(rows, table, g.columns, slices)) return false;
  const WalkedProduct<Slice> product(view, table, rows, is_signed, kernel, slices);
  threads = workers_worth_waking(threads, integer_product_ns(g.rows * g.columns, rows.batch));
  parallel_for(threads, g.units, [&](int64_t unit) {
    for (int64_t b = 0; b < rows.batch; b += kBatchBlock) product.run(unit, b, std::min(kBatchBlock, rows.batch - b));
  });
  return true;
}

}  // namespace

bool walked_integer_linear(const MatrixView& view, bool is_signed, const KernelTable& table, const IntegerRows& rows,
                           int threads) {
  const bool folded = view.folding != nullptr;
  const auto bytes = folded ? table.multiply_folded_bytes : table.multiply_shifted_bytes;
  if (bytes != nullptr) return multiply(view, is_signed, table, rows, threads, bytes);
  const auto words = folded ? table.multiply_folded_words : table.multiply_shifted_words;
  return multiply(view, is_signed, table, rows, threads, words);
}

}  // namespace tersely
