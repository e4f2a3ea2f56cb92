// Steps that move images: in from a caller, out to a caller, from one layout to another, zeros around them.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {
namespace {

// Four pixels of four channels, from pixels side by side to channels side by side, or back.
void transpose_four(const float* from, int64_t from_step, float* to, int64_t to_step) {
  typedef float Four __attribute__((vector_size(16)));
  Four row[4];
  for (int i = 0; i < 4; ++i) std::memcpy(&row[i], from + i * from_step, sizeof row[i]);
  const Four low[2] = {__builtin_shufflevector(row[0], row[1], 0, 4, 1, 5),
                       __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5)};
  const Four high[2] = {__builtin_shufflevector(row[0], row[1], 2, 6, 3, 7),
                        __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7)};
  const Four found[4] = {
      __builtin_shufflevector(low[0], low[1], 0, 1, 4, 5), __builtin_shufflevector(low[0], low[1], 2, 3, 6, 7),
      __builtin_shufflevector(high[0], high[1], 0, 1, 4, 5), __builtin_shufflevector(high[0], high[1], 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) std::memcpy(to + i * to_step, &found[i], sizeof found[i]);
}

// One row of pixels of up to 16 channels.
void copy_row(const float* from, const ImageLayout& in, float* to, const ImageLayout& out, int64_t channels) {
  if (in.blocked == out.blocked && (in.blocked || channels == 1)) {
    std::memcpy(to, from, static_cast<size_t>(in.width * in.pixel_floats()) * 4);
    return;
  }
  const int64_t from_channel = in.pixel_floats() == 1 ? in.plane() : 1;
  const int64_t to_channel = out.pixel_floats() == 1 ? out.plane() : 1;
  if (out.together) {
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t x = 0; x < in.width; ++x) to[x * channels + c] = from[x * in.pixel_floats() + c * from_channel];
    return;
  }
  int64_t first = 0;
  if (channels == kChannelBlock && in.blocked != out.blocked) {
    const int64_t from_step = in.blocked ? kChannelBlock : from_channel;
    const int64_t to_step = out.blocked ? kChannelBlock : to_channel;
    for (; first + 4 <= in.width; first += 4)
      for (int64_t c = 0; c < kChannelBlock; c += 4)
        transpose_four(from + first * in.pixel_floats() + c * from_channel, from_step,
                       to + first * out.pixel_floats() + c * to_channel, to_step);
  }
  for (int64_t x = first; x < in.width; ++x)
    for (int64_t c = 0; c < channels; ++c)
      to[x * out.pixel_floats() + c * to_channel] = from[x * in.pixel_floats() + c * from_channel];
}

// Channels that out's blocks have and in does not are zeros.
void copy_image(const float* from, const ImageLayout& in, float* to, const ImageLayout& out, int64_t image,
                int threads) {
  from += image * in.floats(), to += image * out.floats();
  // Rows of one block, as many as are worth drawing.
  constexpr int64_t kTogether = 4096;
  const int64_t blocks = in.blocks();
  const int64_t rows = std::clamp<int64_t>(kTogether / std::max<int64_t>(1, in.width * kChannelBlock), 1,
                                           std::max<int64_t>(1, in.height));
  parallel_for_ranges(threads, ceil_div(in.height, rows) * blocks, [&](int64_t item) {
    const int64_t channel = item % blocks * kChannelBlock, channels = std::min(kChannelBlock, in.channels - channel);
    const int64_t first = item / blocks * rows, end = std::min(first + rows, in.height);
    for (int64_t y = first; y < end; ++y) {
      if (out.blocked && channels < kChannelBlock && !in.blocked)
        std::memset(to + out.at(channel, y, 0), 0, static_cast<size_t>(out.width * kChannelBlock) * 4);
      copy_row(from + in.at(channel, y, 0), in, to + out.at(channel, y, 0), out, channels);
    }
  });
}

ImageLayout plain(const ImageLayout& l) { return {l.channels, l.height, l.width, 0, false}; }

bool same_shape(const Value& a, const Value& b) {
  return a.images == b.images && a.layout.channels == b.layout.channels && a.layout.height == b.layout.height &&
         a.layout.width == b.layout.width;
}

// Images that a caller lends, [images][channels][height][width], to a value. Integers become floats: what a float
// cannot tell from its neighbour is refused.
class Input final : public Step {
 public:
  explicit Input(const StepText& text)
      : y_(text.image("y")),
        integers_(text.number_or("integers", 0) != 0),
        index_(text.input(y_.images * plain(y_.layout).floats(), integers_)) {
    fits(!integers_ || (!y_.layout.blocked && y_.layout.halo == 0), "integers lie as they come");
  }
  void run(const Run& run) const override {
    if (integers_)
      return widen(static_cast<const int64_t*>(run.lent.inputs[index_]) + run.turn * y_.floats(), run.floats(y_));
    const ImageLayout from = plain(y_.layout);
    const auto* images = static_cast<const float*>(run.lent.inputs[index_]) + run.turn * y_.images * from.floats();
    for (int64_t image = 0; image < y_.images; ++image)
      copy_image(images, from, run.floats(y_), y_.layout, image, run.threads);
  }

 private:
  void widen(const int64_t* from, float* to) const {
    constexpr int64_t kExact = int64_t{1} << 24;
    for (int64_t i = 0; i < y_.floats(); ++i) {
      if (from[i] < -kExact || from[i] > kExact)
        throw std::invalid_argument("input " + std::to_string(index_) + ": the number " + std::to_string(from[i]) +
                                    " is beyond 2^24, where float32 has no room for every integer");
      to[i] = static_cast<float>(from[i]);
    }
  }

  const Value y_;
  const bool integers_;
  const size_t index_;
};

class Output final : public Step {
 public:
  explicit Output(const StepText& text)
      : x_(text.value("x")), index_(text.output(x_.images * plain(x_.layout).floats())) {}
  void run(const Run& run) const override {
    const ImageLayout to = plain(x_.layout);
    float* images = run.lent.outputs[index_] + run.turn * x_.images * to.floats();
    for (int64_t image = 0; image < x_.images; ++image)
      copy_image(run.floats(x_), x_.layout, images, to, image, run.threads);
  }

 private:
  const Value x_;
  const size_t index_;
};

// A value in another layout; with `flat`, its numbers in the order of [images][channels][height][width] as the channels
// of images of one pixel.
class Move final : public Step {
 public:
  explicit Move(const StepText& text) : x_(text.value("x")), y_(text.value("y")), target_(y_.layout) {
    if (text.number_or("flat", 0) != 0) {
      const ImageLayout& l = x_.layout;
      fits(x_.images == y_.images && y_.layout.channels == l.channels * l.height * l.width && y_.layout.height == 1 &&
               y_.layout.width == 1 && !y_.layout.blocked && y_.layout.halo == 0,
           "y is not x in a row");
      target_ = plain(l);
    } else {
      fits(same_shape(x_, y_), "x and y have different shapes");
    }
    fits(!overlap(x_, y_), "y lies over x");
  }
  void run(const Run& run) const override {
    for (int64_t image = 0; image < x_.images; ++image)
      copy_image(run.floats(x_), x_.layout, run.floats(y_), target_, image, run.threads);
  }

 private:
  const Value x_, y_;
  ImageLayout target_;
};

// Zeros around images whose memory other values have had, or around bytes the byte "fill".
class Clear final : public Step {
 public:
  explicit Clear(const StepText& text)
      : y_(text.memory("y")), fill_(static_cast<int>(text.number_or("fill", 0))), size_(y_.number_bytes()) {
    fits(fill_ >= 0 && fill_ <= (y_.bytes ? 255 : 0), "floats are cleared to zeros, bytes to a byte");
  }
  void run(const Run& run) const override {
    const ImageLayout& l = y_.layout;
    const int64_t planes = y_.images * l.planes();
    const auto side = static_cast<size_t>(l.halo * l.pixel_floats() * size_);
    // A guess that is only for waking workers: two ns for each row's two ends, and eight bytes a ns above and below.
    const int64_t ns = planes * (2 * l.height + l.halo * l.row() * size_ / 4);
    parallel_for(workers_worth_waking(run.threads, ns), planes, [&](int64_t plane) {
      uint8_t* to = run.bytes(y_) + plane * l.plane() * size_;
      const auto edge = static_cast<size_t>(l.halo * l.row() * size_);
      std::memset(to, fill_, edge);
      for (int64_t y = 0; y < l.height; ++y) {
        uint8_t* row = to + (y + l.halo) * l.row() * size_;
        std::memset(row, fill_, side);
        std::memset(row + (l.row() - l.halo * l.pixel_floats()) * size_, fill_, side);
      }
      std::memset(to + (l.height + l.halo) * l.row() * size_, fill_, edge);
    });
  }

 private:
  const Value y_;
  const int fill_;
  const int64_t size_;
};

}  // namespace

std::unique_ptr<Step> make_input(const StepText& text) { return std::make_unique<Input>(text); }
std::unique_ptr<Step> make_output(const StepText& text) { return std::make_unique<Output>(text); }
std::unique_ptr<Step> make_move(const StepText& text) { return std::make_unique<Move>(text); }
std::unique_ptr<Step> make_clear(const StepText& text) { return std::make_unique<Clear>(text); }

}  // namespace tersely
