// See sparse_convolution.hpp. First all weights are listed, then workers share out blocks of pixels, and outputs where
// these are few. Sums of an output and a block of pixels begin in the order of columns, whoever computes them.
#include "tersely/backends/cpu/network/sparse_convolution.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <thread>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace tersely {
namespace {

// Packed columns take so much: MEASURED on Zen 5, one thread, ResNet-50 with 80 and 95 % zeros, while entries were not
// fetched ahead yet: 24 KB take 9 to 32 % longer; since they are, 32 and 64 KB take 0 to 6 % longer.
constexpr int64_t kPackedBytes = 48 << 10;
// Weights of an output and a block of columns for which it pays to fetch its sums and to mispredict where they end.
constexpr int64_t kFewEntries = 16;
// Outputs whose sums stay in the first-level cache until they are finished.
constexpr int64_t kFinished = 16;
// What packing a register costs, in products of registers.
constexpr int64_t kPackCost = 4;

// Of a register's lanes that rows of pixels leave empty, one in so many: of 7, 14, 28 and 56 an eighth is.
constexpr int64_t kWasted = 7;
// Registers of a row of pixels that are worth a strip of their own.
constexpr int64_t kStrip = 7;
// Fewer registers than these are not worth a block.
constexpr int64_t kFewRegisters = 6;

// An even number, for workers.
int64_t blocks_of(int64_t units, int64_t most) {
  const int64_t least = ceil_div(units, most);
  return least == 1 ? (units >= 2 * kFewRegisters ? 2 : 1) : (least + 1) / 2 * 2;
}

// Channels of which the columns of all taps are neighbours, as few as there may be: 1, or those of a block; 0 for none.
int64_t whole_channels(const std::vector<int64_t>& places, int64_t taps) {
  for (const int64_t channels : {int64_t{1}, kChannelBlock}) {
    size_t column = 0;
    while (column < places.size() && places[column] / taps / channels == static_cast<int64_t>(column) / taps / channels)
      ++column;
    if (column == places.size()) return channels;
  }
  return 0;
}

int32_t narrow(int64_t value) {
  if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("an image has more floats than 31 bits address");
  return static_cast<int32_t>(value);
}

}  // namespace

struct SparseConvolution::Call {
  const KernelTable& table;
  const Plan plan;
  const SparseEntry* entries;
  const float* x;
  float* y;
  const float* residual;
  const Finish& finish;
};

SparseConvolution::SparseConvolution(const SparseWeights& weights, const ImageLayout& in, const ImageLayout& out,
                                     const ImageLayout* residual, const Window& window)
    : weights_(weights), in_(in), out_(out), residual_(residual == nullptr ? out : *residual), window_(window) {
  if (in.blocked || out.blocked || residual_.blocked || in.halo < window.pad_y || in.halo < window.pad_x)
    throw std::invalid_argument("a sparse convolution takes planes of channels, with a halo as wide as its padding");
  const auto last = [](int64_t count, int64_t stride, int64_t taps, int64_t dilation, int64_t pad) {
    return (count - 1) * stride + (taps - 1) * dilation - pad;
  };
  if (last(out.height, window.stride_y, window.height, window.dilation_y, window.pad_y) >= in.height + in.halo ||
      last(out.width, window.stride_x, window.width, window.dilation_x, window.pad_x) >= in.width + in.halo)
    throw std::invalid_argument("a convolution's output is larger than its input allows");
  const Groups& groups = weights.groups();
  if (in.channels != groups.count * groups.channels || out.channels != weights.outputs() ||
      residual_.channels != out.channels)
    throw std::invalid_argument("a sparse convolution has other channels than its weight");
  narrow(in_.floats()), narrow(out_.floats()), narrow(residual_.floats());
  if (weights.columns() >= (int64_t{1} << 21))  // of at most 14 registers of 64 bytes: places of columns have 32 bits
    throw std::invalid_argument("a sparse convolution has too many channels and taps");
  const int64_t taps = window.height * window.width;
  for (const int64_t place : weights.places()) {
    const int64_t tap = place % taps;
    offsets_.push_back(narrow(in.at(place / taps, tap / window.width * window.dilation_y - window.pad_y,
                                    tap % window.width * window.dilation_x - window.pad_x)));
  }
  if (window.stride_y != 1 || window.stride_x != 1 || window.height == 1) return;
  group_ = whole_channels(weights.places(), taps);
  for (int64_t channel = 0; group_ > 0 && channel < groups.channels; ++channel)
    for (int64_t x = 0; x < window.width; ++x)
      row_offsets_.push_back(narrow(in.at(channel, -window.pad_y, x * window.dilation_x - window.pad_x)));
}

SparseConvolution::Plan SparseConvolution::plan(int64_t lanes, int64_t vectors) const {
  if (suits_rows(lanes, vectors)) return plan_by_rows(lanes, vectors);
  Plan plan{};
  plan.lanes = lanes, plan.units = ceil_div(pixels(), lanes), plan.strips = plan.taps = 1;
  plan.blocks = blocks_of(plan.units, vectors);
  plan.floats = plan.channel_floats = ceil_div(plan.units, plan.blocks) * lanes;
  share_columns(plan, 1);
  return plan;
}

// A tap of another row of the window is another row of the same packed pixels, if each row of an image begins a
// register: each column of taps is packed once, not each tap.
SparseConvolution::Plan SparseConvolution::plan_by_rows(int64_t lanes, int64_t vectors) const {
  Plan plan{};
  const int64_t registers = ceil_div(out_.width, lanes);
  plan.lanes = lanes, plan.units = out_.height, plan.strips = ceil_div(registers, kStrip);
  while (registers % plan.strips != 0) ++plan.strips;
  plan.row = registers / plan.strips;
  const int64_t blocks = blocks_of(plan.units, vectors / plan.row), rows = ceil_div(plan.units, blocks);
  plan.blocks = blocks * plan.strips;
  plan.floats = rows * plan.row * lanes;
  plan.taps = window_.height * window_.width;
  plan.channel_floats = window_.width * (rows + (window_.height - 1) * window_.dilation_y) * plan.row * lanes;
  share_columns(plan, group_ * plan.taps);
  // Fewer rows at a time, where lists go on to other channels so late that these do not fit.
  if (plan.packed_floats(group_ * plan.taps) * 4 > kPackedBytes && vectors - plan.row >= kFewRegisters)
    return plan_by_rows(lanes, vectors - plan.row);
  return plan;
}

bool SparseConvolution::suits_rows(int64_t lanes, int64_t vectors) const {
  if (row_offsets_.empty()) return false;
  if (ceil_div(out_.width, lanes) * lanes * kWasted > out_.width * (kWasted + 1)) return false;
  const Plan plan = plan_by_rows(lanes, vectors);
  return plan.channel_floats < plan.taps * plan.floats &&
         plan.channel_floats <= kSparsePieces * lanes * window_.width &&
         plan.packed_floats(weights_.columns()) < std::numeric_limits<int32_t>::max() / 4;
}

// Columns that are packed at a time, whole groups of them.
void SparseConvolution::share_columns(Plan& plan, int64_t group) const {
  const int64_t columns = weights_.columns(), groups = ceil_div(columns, group);
  const int64_t few = kFewEntries * weights_.outputs() * columns / std::max<int64_t>(1, weights_.entries());
  const int64_t fit = kPackedBytes / (plan.packed_floats(group) * 4);
  const int64_t most = std::clamp<int64_t>(std::max(fit, few / group), 1, groups);
  plan.columns = ceil_div(groups, ceil_div(groups, most)) * group;
}

// Where each column lies among all packed ones, in bytes; none where they lie side by side.
std::vector<uint32_t> SparseConvolution::places_of(const Plan& plan) const {
  std::vector<uint32_t> found;
  if (plan.row == 0) return found;
  const int64_t row = plan.row * plan.lanes * window_.dilation_y, copy = plan.channel_floats / window_.width;
  for (const int64_t place : weights_.places()) {
    const int64_t channel = place / plan.taps, tap = place % plan.taps;
    const int64_t at = channel * plan.channel_floats + tap % window_.width * copy + tap / window_.width * row;
    found.push_back(static_cast<uint32_t>(at * 4));
  }
  return found;
}

int64_t SparseConvolution::workspace_floats() const { return weights_.entries() * 2; }

// Of the outputs of a group, so that workers finish at the same time; each packs its pixels itself.
int64_t SparseConvolution::shares(const Plan& plan, int64_t images, int threads) const {
  if (threads == 1) return 1;
  const Groups& groups = weights_.groups();
  const int64_t items = plan.blocks * groups.count * images;
  const int64_t products = ceil_div(weights_.entries(), weights_.columns() * groups.count);  // of a packed register
  int64_t best = 1, least = std::numeric_limits<int64_t>::max();
  for (int64_t shares = 1; shares <= std::min<int64_t>(2 * threads, groups.outputs); ++shares) {
    const int64_t time = ceil_div(items * shares, threads) * (ceil_div(products, shares) + kPackCost);
    if (time < least) best = shares, least = time;
  }
  return best;
}

// The pixels of a block, as few neighbouring ones at a time as they lie so.
std::vector<SparsePixels> SparseConvolution::pixels_of(const Plan& plan, int64_t block) const {
  std::vector<SparsePixels> found;
  if (plan.row != 0) {
    const int64_t column = plan.column(block);
    for (int64_t row = plan.first(block); row < plan.end(block); ++row)
      found.push_back({static_cast<int32_t>((row - plan.first(block)) * plan.row * plan.lanes), 0,
                       narrow(out_.at(0, row, column)), narrow(residual_.at(0, row, column)), width_of(plan, block)});
    return found;
  }
  const int64_t first = plan.first(block) * plan.lanes, end = std::min(plan.end(block) * plan.lanes, pixels());
  for (int64_t pixel = first, stop; pixel < end; pixel = stop) {
    const int64_t row = pixel / out_.width, column = pixel % out_.width;
    stop = std::min(end, (row + 1) * out_.width);
    const SparsePixels one{
        static_cast<int32_t>(pixel - first), narrow(row * window_.stride_y * in_.row() + column * window_.stride_x),
        narrow(out_.at(0, row, column)), narrow(residual_.at(0, row, column)), static_cast<int32_t>(stop - pixel)};
    SparsePixels* before = found.empty() ? nullptr : &found.back();
    if (before != nullptr && before->x + before->count * window_.stride_x == one.x &&
        before->y + before->count == one.y && before->residual + before->count == one.residual) {
      before->count += one.count;
    } else {
      found.push_back(one);
    }
  }
  return found;
}

// Pixels of a row in a block's strip.
int32_t SparseConvolution::width_of(const Plan& plan, int64_t block) const {
  return static_cast<int32_t>(std::min(plan.row * plan.lanes, out_.width - plan.column(block)));
}

// The rows of an image that the windows of a block's rows reach.
std::vector<SparsePixels> SparseConvolution::packed_rows(const Plan& plan, int64_t block) const {
  std::vector<SparsePixels> found;
  const int64_t first = plan.first(block), end = plan.end(block) + (window_.height - 1) * window_.dilation_y;
  for (int64_t row = first; row < end; ++row)
    found.push_back({static_cast<int32_t>((row - first) * plan.row * plan.lanes),
                     narrow(row * in_.row() + plan.column(block)), 0, 0, width_of(plan, block)});
  return found;
}

void SparseConvolution::finish(const Call& call, const float* sums, int64_t image, int64_t output,
                               const std::vector<SparsePixels>& pixels) const {
  const Finish& f = call.finish;
  const float* residual =
      call.residual == nullptr ? nullptr : call.residual + image * residual_.floats() + output * residual_.plane();
  const SparseFinish finish{f.scale == nullptr ? 1.0F : f.scale[output], f.shift == nullptr ? 0.0F : f.shift[output],
                            f.low, f.high, residual};
  float* y = call.y + image * out_.floats() + output * out_.plane();
  call.table.sparse.finish(sums, finish, pixels.data(), static_cast<int64_t>(pixels.size()), y);
  if (!f.unary) return;
  for (const SparsePixels& one : pixels)
    call.table.activate[static_cast<int>(*f.unary)](y + one.y, one.count, y + one.y);
}

// Outputs [first, first + count) of one group and one block of pixels.
void SparseConvolution::multiply(const Call& call, int64_t image, int64_t block, int64_t first, int64_t count) const {
  static thread_local Scratch packed_scratch, sums_scratch, next_scratch;
  const Plan& plan = call.plan;
  const SparseKernels& kernels = call.table.sparse;
  const bool by_rows = plan.row != 0;
  const std::vector<SparsePixels> places = pixels_of(plan, block);
  const std::vector<SparsePixels> rows = by_rows ? packed_rows(plan, block) : std::vector<SparsePixels>{};
  const std::vector<SparsePixels>& pixels = by_rows ? rows : places;
  const int64_t all = weights_.columns(), units = plan.end(block) - plan.first(block);
  auto* packed = packed_scratch.get<float>(plan.packed_floats(plan.columns) * 4);
  auto* sums = sums_scratch.get<float>((plan.columns == all ? std::min(count, kFinished) : count) * plan.floats * 4);
  auto* next = next_scratch.get<uint32_t>(count * 4);
  std::copy_n(weights_.first().data() + first, count, next);
  const Groups& groups = weights_.groups();
  const float* x = call.x + image * in_.floats() + first / groups.outputs * groups.channels * in_.plane();
  const int64_t copies = by_rows ? window_.width : 1;  // of a channel, or a column
  const int32_t* offsets = by_rows ? row_offsets_.data() : offsets_.data();
  for (int64_t column = 0; column < all; column += plan.columns) {
    const int64_t columns = std::min(plan.columns, all - column);
    kernels.pack(x, offsets + column / plan.taps * copies, columns / plan.taps * copies, window_.stride_x,
                 pixels.data(), static_cast<int64_t>(pixels.size()), plan.channel_floats / copies, packed);
    SparseBlock b{};
    b.entries = call.entries, b.x = packed, b.stride = plan.floats, b.first = column == 0;
    b.begin = static_cast<uint32_t>(plan.packed_floats(column) * 4);
    b.end = static_cast<uint32_t>(plan.packed_floats(column + columns) * 4);
    b.vectors = static_cast<int>(by_rows ? units * plan.row : units);
    const bool last = column + columns == all;
    for (int64_t output = 0; output < count; output += b.rows) {
      b.rows = last ? std::min(kFinished, count - output) : count;
      b.next = next + output;
      b.sums = sums + (plan.columns == all ? 0 : output * plan.floats);
      kernels.multiply(b);
      for (int64_t i = 0; last && i < b.rows; ++i)
        finish(call, b.sums + i * plan.floats, image, first + output + i, places);
    }
  }
}

void SparseConvolution::run(const float* x, float* y, const float* residual, int64_t images, const Finish& finish,
                            float* workspace, int threads) const {
  const KernelTable& table = active_table();
  auto* entries = reinterpret_cast<SparseEntry*>(workspace);
  const Call call{table, plan(table.sparse.lanes, table.sparse.vectors), entries, x, y, residual, finish};
  const Groups& groups = weights_.groups();
  const int64_t shares = this->shares(call.plan, images, threads), blocks = call.plan.blocks;
  // Both in one region, for waking workers takes as long as some lists. Whoever is through with lists waits for those
  // who are not, and these have begun: items are drawn in order. Few at a time, so that neighbours are not drawn at
  // once.
  const std::vector<uint32_t> places = places_of(call.plan);
  const auto lister = weights_.lister(
      table, {static_cast<uint32_t>(call.plan.floats * 4), places.empty() ? nullptr : places.data()}, entries);
  const int64_t parts = std::min<int64_t>(lister.items(), 4 * threads);
  std::atomic<int64_t> left{parts};
  std::atomic<bool> failed{false};  // for lack of memory: nobody may wait for such a list, or read it
  parallel_for(threads, parts + images * groups.count * blocks * shares, [&](int64_t item) {
    if (item < parts) {
      struct Done {
        std::atomic<int64_t>& left;
        std::atomic<bool>& failed;
        bool whole = false;
        ~Done() {
          if (!whole) failed.store(true, std::memory_order_relaxed);
          left.fetch_sub(1, std::memory_order_release);
        }
      } done{left, failed};
      for (int64_t i = lister.items() * item / parts; i < lister.items() * (item + 1) / parts; ++i) lister.list(i);
      done.whole = true;
      return;
    }
    while (left.load(std::memory_order_acquire) > 0) std::this_thread::yield();
    if (failed.load(std::memory_order_relaxed)) return;
    item -= parts;
    const int64_t share = item % shares, block = item / shares % blocks, rest = item / shares / blocks;
    const int64_t first = groups.outputs * share / shares, end = groups.outputs * (share + 1) / shares;
    multiply(call, rest / groups.count, block, rest % groups.count * groups.outputs + first, end - first);
  });
}

}  // namespace tersely
