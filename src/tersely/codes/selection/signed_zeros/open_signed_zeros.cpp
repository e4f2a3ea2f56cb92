// The formulation `signed_zeros`: a matrix with clean zeros, and a bit for each weight that says which of them are
// -0.0. Products are those of the clean matrix; whatever gives weights sets the signs afterwards. FORMAT:
// docs/FORMAT.md, "Signed zeros".
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/codes/opening.hpp"

namespace tersely {
namespace {

// Weights that a worker takes at a time: whole words of bits.
constexpr int64_t kWeightsAtOnce = 1 << 15;

class SignedZeros final : public CodedMatrix {
 public:
  // signs: a bit for each element; null where every zero is negative.
  SignedZeros(const Geometry& geometry, const uint8_t* signs, std::unique_ptr<const CodedMatrix> clean)
      : geometry_(geometry), signs_(signs), clean_(std::move(clean)) {}
  const Geometry& geometry() const override { return geometry_; }
  int64_t word_bytes() const override { return clean_->word_bytes(); }
  DType dtype() const override { return clean_->dtype(); }
  const MatrixView* words() const override { return clean_->words(); }
  const GapLanes* gaps() const override { return clean_->gaps(); }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    clean_->decode_window(first_panel, last_panel, first_element, elements, out, threads);
    const int64_t first_piece = first_element / kWeightsAtOnce;
    parallel_for(threads, ceil_div(first_element + elements, kWeightsAtOnce) - first_piece, [&](int64_t index) {
      const int64_t piece = (first_piece + index) * kWeightsAtOnce;
      const int64_t begin = std::max(piece, first_element);
      const int64_t end = std::min(piece + kWeightsAtOnce, first_element + elements);
      sign(begin, end - begin, out + (begin - first_element) * word_bytes());
    });
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    const uint32_t word = clean_->access(matrix, row, column);
    const Geometry& g = geometry_;
    const int64_t inside = g.column_offsets != nullptr ? g.column_offsets[column] : column * g.column_stride;
    const int64_t element = matrix * g.matrix_stride + row * g.row_stride + inside;
    return word == 0 && is_negative(element) ? 1u << (word_bytes() * 8 - 1) : word;
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    const int64_t wrong = clean_->pick(wanted, count, out, threads);
    if (wrong >= 0) return wrong;
    const int64_t columns = geometry_.columns;
    for (int64_t i = 0; i < count; ++i) sign(wanted[i] * columns, columns, out + i * columns * word_bytes());
    return -1;
  }
  void multiply_rows(const Rows& rows, int threads, bool transposed) const override {
    clean_->multiply_rows(rows, threads, transposed);
  }

 private:
  bool is_negative(int64_t element) const { return signs_ == nullptr || (signs_[element / 8] >> element % 8 & 1) != 0; }
  // Sets the signs of elements [first, first + count), whose words are at `out`.
  void sign(int64_t first, int64_t count, uint8_t* out) const {
    word_bytes() == 4 ? sign_words<uint32_t>(first, count, out) : sign_words<uint16_t>(first, count, out);
  }
  template <class Word>
  void sign_words(int64_t first, int64_t count, uint8_t* out) const {
    constexpr Word kNegativeZero = Word{1} << (sizeof(Word) * 8 - 1);
    auto* words = reinterpret_cast<Word*>(out);
    int64_t i = 0;
    // Whole words of bits, by the bits that are set; the ends one by one.
    for (; i < count; ++i) {
      if (signs_ != nullptr && (first + i) % 64 == 0 && i + 64 <= count) break;
      if (words[i] == 0 && is_negative(first + i)) words[i] = kNegativeZero;
    }
    for (; i + 64 <= count; i += 64) {
      uint64_t bits;
      std::memcpy(&bits, signs_ + (first + i) / 8, sizeof bits);
      for (; bits != 0; bits &= bits - 1) {
        Word& word = words[i + std::countr_zero(bits)];
        if (word == 0) word = kNegativeZero;
      }
    }
    for (; i < count; ++i)
      if (words[i] == 0 && is_negative(first + i)) words[i] = kNegativeZero;
  }

  const Geometry geometry_;
  const uint8_t* const signs_;
  const std::unique_ptr<const CodedMatrix> clean_;
};

}  // namespace

std::unique_ptr<CodedMatrix> open_signed_zeros(const Opening& opening) {
  const Node& child = opening.node.child("clean");
  require(child.formulation != "signed_zeros", "signed_zeros holds no signed_zeros");
  const bool every = opening.parameters().flag("every");
  const uint8_t* signs = every ? nullptr : opening.components.stream("signs", ceil_div(opening.geometry().elements, 8));
  auto clean =
      open_node({child, opening.dtype, opening.shape, opening.view, opening.seen, opening.components.under("clean")});
  require(clean->products() == Products::kFloats, "signed_zeros holds floats");
  return std::make_unique<SignedZeros>(opening.geometry(), signs, std::move(clean));
}

}  // namespace tersely
