// A value made of regions of others: concatenation, padding, slices.
#include <algorithm>
#include <bit>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {
namespace {

// channels x height x width numbers of x, every step_y-th row and step_x-th column from (channel, row, column) on, and
// where they go to in y.
struct Region {
  Value x;
  int64_t channels, height, width;
  int64_t from_channel, from_row, from_column, step_y, step_x;
  int64_t to_channel, to_row, to_column;
};
constexpr size_t kNumbers = 11;

bool inside(int64_t first, int64_t count, int64_t step, int64_t size) {
  return first >= 0 && count > 0 && step > 0 && first < size && count <= size &&
         (count - 1) <= (size - 1 - first) / step;
}

// Of floats or of bytes. "xs": values; "regions": the numbers of a Region for each of them; "fill": the bits of the
// number that is where no region is, or nothing where they cover y.
class Assemble final : public Step {
 public:
  explicit Assemble(const StepText& text) : y_(text.any_value("y")), fills_(text.has("fill")) {
    const std::vector<const Value*> xs = text.list("xs");
    const std::vector<int64_t> numbers = text.numbers("regions");
    fits(numbers.size() == xs.size() * kNumbers, "a value without a region, or a region without a value");
    const ImageLayout& out = y_.layout;
    fits(out.blocked, "an image is assembled in blocks of channels");
    for (size_t i = 0; i < xs.size(); ++i) {
      const int64_t* n = numbers.data() + i * kNumbers;
      const Region r{*xs[i], n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10]};
      const ImageLayout& in = r.x.layout;
      fits(in.blocked && r.x.images == y_.images && !overlap(r.x, y_) && r.x.bytes == y_.bytes,
           "what is assembled is no blocks of channels, has other images or numbers than y, or y lies over it");
      fits(inside(r.from_channel, r.channels, 1, in.channels) && inside(r.from_row, r.height, r.step_y, in.height) &&
               inside(r.from_column, r.width, r.step_x, in.width) &&
               inside(r.to_channel, r.channels, 1, out.channels) && inside(r.to_row, r.height, 1, out.height) &&
               inside(r.to_column, r.width, 1, out.width),
           "a region lies beyond its image");
      regions_.push_back(r);
    }
    if (fills_) fill_ = static_cast<uint32_t>(text.number("fill"));
    fits(!y_.bytes || fill_ < 256, "what fills bytes is no byte");
  }

  void run(const Run& run) const override {
    y_.bytes ? assemble(run, static_cast<uint8_t>(fill_)) : assemble(run, std::bit_cast<float>(fill_));
  }

 private:
  template <class Number>
  static Number* numbers(const Run& run, const Value& value) {
    return reinterpret_cast<Number*>(run.floats(value));
  }

  template <class Number>
  void assemble(const Run& run, Number fill) const {
    const ImageLayout& out = y_.layout;
    parallel_for_ranges(run.threads, y_.images * out.blocks() * out.height, [&](int64_t item) {
      const int64_t row = item % out.height, block = item / out.height % out.blocks();
      const int64_t image = item / out.height / out.blocks(), channel = block * kChannelBlock;
      Number* to = numbers<Number>(run, y_) + image * out.floats() + out.at(channel, row, 0);
      const int64_t real = std::min(kChannelBlock, out.channels - channel);
      if (fills_ || real < kChannelBlock)
        for (int64_t i = 0; i < out.width * kChannelBlock; ++i) to[i] = i % kChannelBlock < real ? fill : Number{};
      for (const Region& r : regions_)
        if (row >= r.to_row && row < r.to_row + r.height) copy(run, r, image, channel, row, to);
    });
  }

  // What of a region lies in a row of a block of channels.
  template <class Number>
  static void copy(const Run& run, const Region& r, int64_t image, int64_t channel, int64_t row, Number* to) {
    const ImageLayout& in = r.x.layout;
    const int64_t first = std::max(channel, r.to_channel);
    const int64_t end = std::min(channel + kChannelBlock, r.to_channel + r.channels);
    const int64_t y = r.from_row + (row - r.to_row) * r.step_y;
    to += r.to_column * kChannelBlock;
    for (int64_t c = first; c < end;) {
      const int64_t source = r.from_channel + c - r.to_channel;
      const int64_t count = std::min(end - c, kChannelBlock - source % kChannelBlock);
      const Number* from = numbers<Number>(run, r.x) + image * in.floats() + in.at(source, y, r.from_column);
      Number* at = to + c % kChannelBlock;
      if (count == kChannelBlock && r.step_x == 1) {
        std::memcpy(at, from, static_cast<size_t>(r.width * kChannelBlock) * sizeof(Number));
      } else {
        for (int64_t x = 0; x < r.width; ++x)
          std::memcpy(at + x * kChannelBlock, from + x * r.step_x * kChannelBlock,
                      static_cast<size_t>(count) * sizeof(Number));
      }
      c += count;
    }
  }

  const Value y_;
  const bool fills_;
  uint32_t fill_ = 0;
  std::vector<Region> regions_;
};

}  // namespace

std::unique_ptr<Step> make_assemble(const StepText& text) { return std::make_unique<Assemble>(text); }

}  // namespace tersely
