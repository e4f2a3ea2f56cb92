// See convolution.hpp.
#include "tersely/backends/cpu/network/convolution.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/network/bring.hpp"
#include "tersely/backends/cpu/network/shares.hpp"

namespace tersely {
namespace {

// Columns whose weights, of one panel, take half of the smallest first-level cache.
constexpr int64_t kBlockColumns = 256;
// Pixels whose sums, of two panels, stay in the first-level cache until their activation.
constexpr int64_t kActivatedPixels = 96;

int32_t narrow(int64_t value) {
  if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("an image has more floats than 31 bits address");
  return static_cast<int32_t>(value);
}

// The longest runs, all of one length, in which offsets are consecutive.
int64_t run_length(const std::vector<int64_t>& offsets) {
  auto length = static_cast<int64_t>(offsets.size()), begin = int64_t{0};
  for (int64_t i = 1; i < static_cast<int64_t>(offsets.size()); ++i)
    if (offsets[i] != offsets[i - 1] + 1) length = std::gcd(length, i - begin), begin = i;
  return length;
}

}  // namespace

struct Convolution::Call {
  const KernelTable& table;
  const float* x;
  float* y;
  const float* residual;
  int64_t images;
  const Finish& finish;
};

Convolution::Convolution(const ConvolutionWeights& weights, const ImageLayout& in, const ImageLayout& out,
                         const ImageLayout* residual, const Window& window)
    : weights_(weights), in_(in), out_(out), residual_(residual == nullptr ? out : *residual) {
  if (!out.blocked || in.halo < window.pad_y || in.halo < window.pad_x)
    throw std::invalid_argument("a convolution writes blocks of channels and reads a halo as wide as its padding");
  const auto last = [](int64_t count, int64_t stride, int64_t taps, int64_t dilation, int64_t pad) {
    return (count - 1) * stride + (taps - 1) * dilation - pad;
  };
  if (last(out.height, window.stride_y, window.height, window.dilation_y, window.pad_y) >= in.height + in.halo ||
      last(out.width, window.stride_x, window.width, window.dilation_x, window.pad_x) >= in.width + in.halo)
    throw std::invalid_argument("a convolution's output is larger than its input allows");
  narrow(in_.floats()), narrow(out_.floats()), narrow(residual_.floats());
  const int64_t taps = window.height * window.width;
  const PanelColumns& reads = weights.reads();
  for (const int64_t first : reads.first) {
    if (first + reads.channels > in.blocks() * kChannelBlock || (!in.blocked && first != 0) ||
        (in.blocked && first % kChannelBlock != 0))
      throw std::invalid_argument("a panel of weights reads channels that there are not");
    panel_at_.push_back(in.blocked ? first / kChannelBlock * in.plane() : 0);
  }
  if (reads.columns.empty()) throw std::invalid_argument("a convolution of no channels or no taps");
  std::vector<int64_t> offsets(reads.columns.size());
  for (size_t column = 0; column < offsets.size(); ++column) {
    const int64_t place = reads.columns[column], tap = place % taps;
    offsets[column] =
        in.at(place / taps, tap / window.width * window.dilation_y, tap % window.width * window.dilation_x) -
        in.at(0, 0, 0);
  }
  reach_ = in.at(0, (window.height - 1) * window.dilation_y, (window.width - 1) * window.dilation_x) - in.at(0, 0, 0) +
           in.pixel_floats();
  run_ = run_length(offsets);
  if (static_cast<int64_t>(offsets.size()) > kSegmentColumns)
    run_ = std::gcd(run_, kSegmentColumns);  // segments hold whole runs
  for (size_t column = 0; column < offsets.size(); column += static_cast<size_t>(run_))
    offsets_.push_back(narrow(offsets[column]));
  const int64_t whole = std::lcm(run_, kTileChunks * kChunkColumns);  // a block ends where a run and a tile do
  block_columns_ = std::min(std::max(kBlockColumns / whole, int64_t{1}) * whole, ceil_div(this->columns(), 4) * 4);
  for (int64_t row = 0; row < out.height; ++row)
    for (int64_t column = 0; column < out.width; ++column) {
      x_at_.push_back(narrow(in.at(0, row * window.stride_y - window.pad_y, column * window.stride_x - window.pad_x)));
      y_at_.push_back(narrow(out_.at(0, row, column)));
      residual_at_.push_back(narrow(residual_.at(0, row, column)));
    }
}

// The last block of columns: pixels are finished while they are in cache.
void Convolution::finish(const Call& call, ConvolutionBlock& b, int64_t first, int64_t count) const {
  const auto& unary = call.finish.unary;
  if (call.finish.activation == PixelActivation::kNone && !unary) return call.table.convolve(b, places(first), count);
  for (int64_t begin = first; begin < first + count; begin += kActivatedPixels) {
    const int64_t end = std::min(begin + kActivatedPixels, first + count);
    call.table.convolve(b, places(begin), end - begin);
    for (int64_t pixel = begin, stop; pixel < end; pixel = stop) {
      stop = std::min(end, (pixel / out_.width + 1) * out_.width);
      for (int k = 0; k < b.panels; ++k) {
        float* y = b.y + k * b.y_panel_stride + y_at_[static_cast<size_t>(pixel)];
        call.table.pixels.activate(call.finish.activation, y, stop - pixel);
        if (unary) call.table.activate[static_cast<int>(*unary)](y, (stop - pixel) * kChannelBlock, y);
      }
    }
  }
}

// Of a walk over panels: the first pixels of a share, of the first image.
struct Convolution::Early {
  const Convolution& self;
  const Call& call;
  int64_t pixel;
  int64_t count;

  bool wanted(int64_t panel) const {
    const auto at = static_cast<size_t>(panel);
    return count > kEarlyPixels && self.run_ % kChunkColumns == 0 && at + 1 < self.panel_at_.size() &&
           self.panel_at_[at] == self.panel_at_[at + 1];
  }
  EarlyPixels operator()(int64_t panel, int64_t column) const {
    return {call.x + self.panel_at_[static_cast<size_t>(panel)],
            self.x_at_.data() + pixel,
            self.offsets_.data() + column / self.run_,
            self.run_,
            call.y + panel * self.out_.plane(),
            self.out_.plane(),
            self.y_at_.data() + pixel,
            column == 0};
  }
};

void Convolution::multiply(const Call& call, const FloatBlock& block, int64_t first, int64_t count) const {
  const int64_t* at = panel_at_.data() + block.panel;
  if (block.panels == 2 && at[0] != at[1]) {
    FloatBlock one = block;
    one.panels = 1;
    multiply(call, one, first, count);
    one.panel += 1, one.weights += block.panel_stride;
    return multiply(call, one, first, count);
  }
  const int64_t output = block.panel * kPanelRows;
  ConvolutionBlock b{};
  b.weights = block.weights, b.panel_stride = block.panel_stride, b.panels = block.panels;
  b.offsets = offsets_.data() + block.first_column / run_, b.runs = block.columns / run_, b.run = run_;
  b.y_panel_stride = out_.plane(), b.residual_panel_stride = residual_.plane();
  b.first = block.first_column == 0, b.last = block.first_column + block.columns == columns();
  b.scale = call.finish.scale == nullptr ? nullptr : call.finish.scale + output;
  b.shift = call.finish.shift == nullptr ? nullptr : call.finish.shift + output;
  b.low = call.finish.low, b.high = call.finish.high;
  for (int64_t image = 0; image < call.images; ++image) {
    const int64_t early = image == 0 ? block.early : 0;
    b.x = call.x + image * in_.floats() + at[0];
    b.y = call.y + image * out_.floats() + block.panel * out_.plane();
    b.residual = call.residual == nullptr
                     ? nullptr
                     : call.residual + image * residual_.floats() + block.panel * residual_.plane();
    if (!b.last) {
      call.table.convolve(b, places(first + early), count - early);
      continue;
    }
    finish(call, b, first + early, count - early);
    if (early == 0) continue;
    ConvolutionBlock done = b;  // no columns are left
    done.first = false, done.runs = 0;
    finish(call, done, first, early);
  }
}

std::vector<int32_t> Convolution::place_rows(int64_t rows) const {
  std::vector<int32_t> found;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < out_.width; ++column)
      found.push_back(narrow(row * out_.row() + column * kChannelBlock));
  return found;
}

void Convolution::multiply_rows(const KernelTable& table, const FloatBlock& block, const float* x, int64_t first,
                                int64_t end, const int32_t* y_at, float* y, int64_t y_panel,
                                const Finish& finish) const {
  const int64_t output = block.panel * kPanelRows;
  ConvolutionBlock b{};
  b.weights = block.weights, b.panel_stride = block.panel_stride, b.panels = block.panels;
  b.offsets = offsets_.data(), b.runs = runs(), b.run = run_;
  b.x = x, b.y = y, b.y_panel_stride = y_panel;
  b.first = b.last = true;
  b.scale = finish.scale == nullptr ? nullptr : finish.scale + output;
  b.shift = finish.shift == nullptr ? nullptr : finish.shift + output;
  b.low = finish.low, b.high = finish.high;
  table.convolve(b, {x_at_.data() + first * out_.width, y_at, y_at}, (end - first) * out_.width);
  if (finish.activation == PixelActivation::kNone) return;
  for (int k = 0; k < block.panels; ++k)
    for (int64_t row = 0; row < end - first; ++row)
      table.pixels.activate(finish.activation, y + k * y_panel + row * out_.row(), out_.width);
}

template <class Panels>
int64_t Convolution::shares(const Panels& panels, int64_t images, int threads) const {
  return shares_of({panels.items(), out_.blocks(), panels.panels_each()}, pixels(), images, threads);
}

ItemCodes Convolution::prefetch(int worker, int threads, int64_t images) const {
  ItemCodes codes;
  weights_.visit(active_table(), [&](const auto& panels) {
    const int64_t items = panels.items(), count = items * shares(panels, images, threads);
    codes = panels.prefetch(Ranges(threads, count).first(worker % Ranges(threads, count).count()) % items);
  });
  return codes;
}

// What is read for some pixels of an image that several workers have written.
struct Convolution::Brought {
  const Convolution& self;
  const float* x;
  int64_t begin, end;  // of each plane
  bool by_blocks;

  // wanted: whether others have written them, and a worker reads them for the first time.
  Brought(const Convolution& own, const float* image, int64_t first, int64_t count, bool wanted)
      : self(own), x(image), begin(own.x_at_[static_cast<size_t>(first)]) {
    end = std::min(own.x_at_[static_cast<size_t>(first + count - 1)] + own.reach_, own.in_.plane());
    const bool whole = (end - begin) * own.in_.planes() <= kBroughtFloats;
    by_blocks = wanted && !whole;
    for (int64_t plane = 0; wanted && whole && plane < own.in_.planes(); ++plane) bring_plane(plane);
  }
  void bring_plane(int64_t plane) const { bring(x + plane * self.in_.plane() + begin, end - begin); }

  // Before a block of columns is multiplied, where a cache does not hold more.
  void operator()(const FloatBlock& block) const {
    if (!by_blocks || block.columns < self.run_) return;
    const int64_t at = self.panel_at_[static_cast<size_t>(block.panel)], plane = self.in_.plane();
    const int32_t *run = self.offsets_.data() + block.first_column / self.run_, *last = run + block.columns / self.run_;
    if ((at + last[-1]) / plane - (at + run[0]) / plane >= kBroughtFloats / (end - begin)) return;
    for (int64_t before = -1; run != last; ++run)
      if (const int64_t here = (at + *run) / plane; here != before) bring_plane(before = here);
  }
};

void Convolution::run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish,
                      int threads, const Convolution* next) const {
  const Call call{active_table(), x, y, residual, images, finish};
  weights_.visit(call.table, [&](const auto& panels) {
    const int64_t items = panels.items(), shares = this->shares(panels, images, threads);
    const Ranges ranges(threads, items * shares);
    parallel_for_ranges(threads, items * shares, [&](int64_t index) {
      const int64_t item = index % items, share = index / items;
      const int64_t first = pixels() * share / shares, count = pixels() * (share + 1) / shares - first;
      const Brought brought(*this, x, first, count, threads > 1 && ranges.begins(index));
      const Early early{*this, call, first, count};
      ItemCodes codes;
      if (!ranges.ends(index + 1))
        codes = panels.prefetch((index + 1) % items);
      else if (next != nullptr)
        codes = next->prefetch(Session::worker(), threads, images);
      panels.walk(item, block_columns_, early, codes, [&](const FloatBlock& block) {
        brought(block);
        multiply(call, block, first, count);
      });
    });
  });
}

}  // namespace tersely
