// See coded_matrix.hpp.
#include "tersely/backends/cpu/matrix/coded_matrix.hpp"

#include <algorithm>
#include <stdexcept>

#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/walk.hpp"

namespace tersely {
namespace {

template <class Word>
const void* gathered(const Operand& x, int64_t inner) {
  static thread_local Scratch scratch;
  auto* out = scratch.get<Word>(x.rows * inner * static_cast<int64_t>(sizeof(Word)));
  const auto* from = static_cast<const Word*>(x.data);
  for (int64_t b = 0; b < x.rows; ++b)
    for (int64_t i = 0; i < inner; ++i) out[b * inner + i] = from[b * x.row_stride + i * x.column_stride];
  return out;
}

}  // namespace

void CodedMatrix::multiply(const Operand& x, const Epilogue& y, int threads, bool transposed) const {
  const Geometry& g = geometry();
  if (products() != Products::kFloats) throw std::invalid_argument("integers have no product of floats");
  if (g.count != 1 || word_bytes_of(x.dtype) < 2 || word_bytes_of(y.dtype) < 2)
    throw std::invalid_argument("a product needs a matrix, and x and y of 16 or 32 bits");
  const int64_t inner = transposed ? g.rows : g.columns, outer = transposed ? g.columns : g.rows;
  if (x.rows == 0 || outer == 0) return;
  const bool plain = is_plain(y) && x.dtype == y.dtype;
  if (x.column_stride == 1 || inner <= 1) {
    multiply_rows({x.dtype, x.rows, x.data, x.row_stride, y, plain}, threads, transposed);
    return;
  }
  const void* rows = x.dtype == DType::kFloat32 ? gathered<uint32_t>(x, inner) : gathered<uint16_t>(x, inner);
  multiply_rows({x.dtype, x.rows, rows, inner, y, plain}, threads, transposed);
}

void CodedMatrix::decode_chunks(int64_t unit, uint8_t* scratch, uint8_t* out) const {
  if (!has_chunks()) throw std::invalid_argument("the matrix is no walk over bytes");
  const KernelTable& table = active_table();
  const MatrixView& view = *words();
  constexpr int64_t kBlock = 32;
  alignas(64) uint8_t turned[kBlock * kChunkWeights], folded[kBlock * kChunkWeights];
  const int64_t first = unit_panels(view.geometry, unit).first, per_panel = view.geometry.chunks_per_panel;
  walk_unit(view, table, unit, scratch,
            [&](int64_t panel, int64_t first_chunk, int64_t chunks, const CodeKernels& kernels, Cursor& cursor) {
              uint8_t* to = out + ((panel - first) * per_panel + first_chunk) * kChunkWeights;
              for (int64_t done = 0; done < chunks; done += kBlock, to += kBlock * kChunkWeights) {
                const int64_t block = std::min(kBlock, chunks - done);
                kernels.decode_words(view.source.parameters(), cursor, block, view.folding ? folded : turned);
                if (view.folding != nullptr)
                  table.unfold.bytes(folded, block * kChunkWeights, static_cast<uint8_t>(view.folding->centre), turned);
                table.quantised.turn_columns(turned, block, to);
              }
            });
}

bool CodedMatrix::multiply_integers(const IntegerRows&, int) const {
  throw std::invalid_argument("this product needs a matrix of 8-bit weights that kernels multiply");
}
bool CodedMatrix::multiply_nibbles(const IntegerRows&, bool, int) const {
  throw std::invalid_argument("this product needs a matrix of 4-bit weights, two a byte");
}
void CodedMatrix::multiply_rows(const Rows&, int, bool) const {
  throw std::invalid_argument("integers have no product of floats");
}

}  // namespace tersely
