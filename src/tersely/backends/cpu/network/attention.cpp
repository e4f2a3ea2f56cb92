// Products of values with values: attention and matrix products.
//
// Keys are turned to panels of 16 keys; what comes of them and the queries are scores in the layout of an image whose
// channels are keys. Values are panels already, as they lie: 16 channels of a token side by side. So attention is two
// convolutions of one pixel's width with softmax between them, and nothing but keys is moved.
#include <algorithm>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/network/blocked_product.hpp"
#include "tersely/backends/cpu/network/strided.hpp"

namespace tersely {
namespace {

// Queries whose scores stay in the second-level cache.
constexpr int64_t kQueries = 128;

// Queries of a chunk, chunks being of one size but for the last.
int64_t shared_out(int64_t queries) {
  const int64_t chunks = (queries + kQueries - 1) / kQueries;
  return (queries + chunks - 1) / chunks;
}

int64_t blocks_of(int64_t count) { return (count + kChannelBlock - 1) / kChannelBlock; }

// [images][heads][blocks of 16 channels][tokens][16]; strides of the first three are free.
class Heads {
 public:
  Heads(const StepText& text, const char* name, int64_t images, int64_t heads, int64_t tokens, int64_t size)
      : view_(text, name, {images, heads, blocks_of(size), tokens, kChannelBlock}) {
    fits(!view_.is_constant() && view_.stride(3) == kChannelBlock && view_.stride(4) == 1,
         "heads lie in blocks of 16 channels, token by token");
  }
  const Value& value() const { return view_.value(); }
  int64_t block() const { return view_.stride(2); }
  int64_t offset(int64_t image, int64_t head) const { return image * view_.stride(0) + head * view_.stride(1); }
  const float* read(const Run& run, int64_t image, int64_t head) const { return view_.read(run) + offset(image, head); }
  float* write(const Run& run, int64_t image, int64_t head) const { return view_.write(run) + offset(image, head); }

 private:
  Strided view_;
};

// keys [blocks][tokens][16] to [blocks of keys][size][16 keys]; keys that the last block has not are zeros.
void turn_keys(const float* keys, int64_t block, int64_t tokens, int64_t size, float* to) {
  for (int64_t first = 0; first < tokens; first += kChannelBlock, to += size * kChannelBlock) {
    const int64_t count = std::min(kChannelBlock, tokens - first);
    for (int64_t c = 0; c < size; ++c) {
      const float* from = keys + c / kChannelBlock * block + first * kChannelBlock + c % kChannelBlock;
      float* line = to + c * kChannelBlock;
      for (int64_t k = 0; k < count; ++k) line[k] = from[k * kChannelBlock];
      for (int64_t k = count; k < kChannelBlock; ++k) line[k] = 0.0F;
    }
  }
}

class Attention final : public Step {
 public:
  explicit Attention(const StepText& text)
      : images_(positive(text, "images")),
        heads_(positive(text, "heads")),
        queries_(positive(text, "queries")),
        keys_(positive(text, "keys")),
        size_(positive(text, "size")),
        value_size_(positive(text, "value_size")),
        x_(text, "x", images_, heads_, queries_, size_),
        k_(text, "k", images_, heads_, keys_, size_),
        v_(text, "v", images_, heads_, keys_, value_size_),
        y_(text, "y", images_, heads_, queries_, value_size_),
        scale_(static_cast<float>(text.real("scale"))),
        boolean_(text.number_or("boolean", 0) != 0),
        causal_(text.number_or("causal", 0) != 0),
        chunk_(shared_out(queries_)),
        scores_(size_, chunk_, x_.block(), chunk_ * kChannelBlock),
        result_(keys_, chunk_, chunk_ * kChannelBlock, y_.block()) {
    if (text.has("mask") || text.has("mask_constant")) {
      mask_ = std::make_unique<Strided>(text, "mask", std::vector<int64_t>{images_, heads_, queries_, keys_});
      fits(mask_->stride(3) == 1, "a mask's keys do not lie side by side");
    }
    for (const Heads* one : {&x_, &k_, &v_}) fits(!overlap(one->value(), y_.value()), "y lies over x, k or v");
  }

  void run(const Run& run) const override {
    const KernelTable& table = active_table();
    // All chunks of a head together where there are heads enough: its keys are turned once.
    const int64_t chunks = (queries_ + chunk_ - 1) / chunk_, heads = images_ * heads_;
    const bool together = heads % run.threads == 0 || heads >= 4 * int64_t{run.threads};
    const int64_t parts = together ? 1 : chunks;
    parallel_for_ranges(run.threads, heads * parts, [&](int64_t item) {
      const int64_t head = item / parts % heads_, image = item / parts / heads_;
      static thread_local Scratch scratch;
      const int64_t panels = blocks_of(keys_), turned = panels * size_ * kChannelBlock;
      auto* keys = scratch.get<float>((turned + panels * chunk_ * kChannelBlock) * 4);
      turn_keys(k_.read(run, image, head), k_.block(), keys_, size_, keys);
      const int64_t begin = together ? 0 : item % parts, end = together ? chunks : begin + 1;
      for (int64_t chunk = begin; chunk < end; ++chunk) attend(run, table, image, head, chunk, keys, keys + turned);
    });
  }

 private:
  // One chunk of a head's queries. scores: room for those of a chunk.
  void attend(const Run& run, const KernelTable& table, int64_t image, int64_t head, int64_t chunk, const float* keys,
              float* scores) const {
    const int64_t first = chunk * chunk_, count = std::min(chunk_, queries_ - first), panels = blocks_of(keys_);
    scores_.run(table, keys, size_ * kChannelBlock, panels, x_.read(run, image, head) + first * kChannelBlock, scores,
                count);
    ScoreRows rows{scores, chunk_ * kChannelBlock, keys_, scale_, nullptr, 0, boolean_, keys_};
    if (causal_) rows.last_key = first;
    if (mask_ != nullptr) {
      rows.mask = mask_->read(run) + image * mask_->stride(0) + head * mask_->stride(1) + first * mask_->stride(2);
      rows.mask_query = mask_->stride(2);
    }
    table.tokens.attend(rows, count);
    result_.run(table, v_.read(run, image, head), v_.block(), blocks_of(value_size_), scores,
                y_.write(run, image, head) + first * kChannelBlock, count);
  }

  static int64_t positive(const StepText& text, const char* member) {
    const int64_t number = text.number(member);
    fits(number > 0 && number < int64_t{1} << 31, "a size of attention is not positive, or too large");
    return number;
  }

  const int64_t images_, heads_, queries_, keys_, size_, value_size_;
  const Heads x_, k_, v_, y_;
  const float scale_;
  const bool boolean_, causal_;
  const int64_t chunk_;
  const BlockedProduct scores_, result_;
  std::unique_ptr<const Strided> mask_;
};

// y = x z, matrix by matrix: images are matrices, pixels rows, channels columns; all in blocks.
class MatrixProduct final : public Step {
 public:
  explicit MatrixProduct(const StepText& text)
      : x_(text.value("x")),
        z_(text.value("z")),
        y_(text.value("y")),
        product_(x_.layout.channels, x_.layout.width, x_.layout.plane(), y_.layout.plane()) {
    for (const Value* one : {&x_, &z_, &y_})
      fits(one->layout.blocked && one->layout.height == 1 && one->layout.halo == 0 && one->images == y_.images,
           "a product takes as many matrices of each, in blocks");
    fits(x_.layout.channels == z_.layout.width && x_.layout.width == y_.layout.width &&
             z_.layout.channels == y_.layout.channels,
         "x has other columns than z has rows");
    fits(!overlap(x_, y_) && !overlap(z_, y_), "y lies over x or z");
  }

  void run(const Run& run) const override {
    const KernelTable& table = active_table();
    const int64_t pairs = (y_.layout.blocks() + 1) / 2;
    parallel_for_ranges(run.threads, y_.images * pairs, [&](int64_t item) {
      const int64_t image = item / pairs, panel = item % pairs * 2;
      const int64_t stride = z_.layout.plane();
      product_.run(table, run.floats(z_) + image * z_.layout.floats() + panel * stride, stride,
                   std::min<int64_t>(2, y_.layout.blocks() - panel), run.floats(x_) + image * x_.layout.floats(),
                   run.floats(y_) + image * y_.layout.floats() + panel * y_.layout.plane(), x_.layout.width);
    });
  }

 private:
  const Value x_, z_, y_;
  const BlockedProduct product_;
};

}  // namespace

std::unique_ptr<Step> make_attention(const StepText& text) { return std::make_unique<Attention>(text); }
std::unique_ptr<Step> make_matrix_product(const StepText& text) { return std::make_unique<MatrixProduct>(text); }

}  // namespace tersely
