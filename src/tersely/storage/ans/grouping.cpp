// See grouping.hpp.
#include "tersely/storage/ans/grouping.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>

#include "tersely/storage/ans/description.hpp"
#include "tersely/storage/ans/logarithm.hpp"
#include "tersely/storage/ans/survey.hpp"

namespace tersely::ans {
namespace {

constexpr int64_t kBitsOfTable = 24 * kOne, kBitsOfAxis = 20 * kOne, kBitsOfEntry = 144179;
constexpr int kSteps[] = {5, 3, 9, 16, 30};
constexpr int64_t kSample = 1 << 17, kSampleOfFew = 1 << 14;
constexpr int kTables[] = {4, 8, kMaxTables}, kFewTables[] = {4};
constexpr int64_t kScale = 256, kFit = 47274, kShare = 2, kFewestRows = 64, kFewestColumns = 256;

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

int64_t root_of(int64_t square) {
  auto root = static_cast<int64_t>(std::sqrt(static_cast<double>(square)));
  while (root * root > square) --root;
  while ((root + 1) * (root + 1) <= square) ++root;
  return root;
}

struct Way {
  unsigned axes;  // a bit for each
  int width, tables;
  int64_t bits;
};

class Search {
 public:
  explicit Search(const Grouped& given) : given_(given), axes_(given.dims.size()) {
    for (const int64_t length : given.dims) count_ *= length;
    many_ = given.raw && !given.zero && count_ > kSample;
    clip();
    measure();
    sample();
  }

  // Null: one table for all.
  std::optional<Way> best() {
    const std::span<const int> numbers = many_ ? std::span<const int>(kFewTables) : std::span<const int>(kTables);
    std::vector<Way> found;
    const auto consider = [&](unsigned axes, int width, int tables) {
      for (const Way& way : found)
        if (way.axes == axes && way.width == width && way.tables == tables) return;
      found.push_back({axes, width, tables, bits(axes, width, tables)});
    };
    const auto smallest = [&] {
      return *std::min_element(found.begin(), found.end(), [](const Way& a, const Way& b) { return a.bits < b.bits; });
    };
    for (const unsigned axes : {usable_ & -usable_, std::bit_floor(usable_), usable_})
      for (size_t step = 0; axes != 0 && step < (given_.raw ? 1 : std::size(kSteps)); step += 2)
        consider(axes, kSteps[step], numbers.back());
    if (found.empty()) return std::nullopt;
    const unsigned axes = smallest().axes;
    for (size_t step = 0; step < (given_.raw ? 3 : std::size(kSteps)); ++step)
      for (const int tables : numbers) consider(axes, kSteps[step], tables);
    const Way way = smallest();
    if (way.bits >= bits(0, 10, 1)) return std::nullopt;
    return way;
  }

  std::vector<int8_t> classes_of(size_t axis, int width) const {
    std::vector<int8_t> out(deviations_[axis].size());
    const int64_t wide = width * spread_;
    std::transform(deviations_[axis].begin(), deviations_[axis].end(), out.begin(), [wide](int64_t deviation) {
      const int64_t number = floor_divide(20 * deviation + wide, 2 * wide);
      return static_cast<int8_t>(std::clamp<int64_t>(number, -kClassZero, kClassZero - 1));
    });
    return out;
  }

 private:
  // Sizes from the smallest common one on, and none far from the median: a few words do not decide. From 0 on.
  void clip() {
    const size_t first = given_.first_is_zero && given_.sizes.size() > 1 ? 1 : 0, symbols = given_.sizes.size();
    std::vector<size_t> order;
    int64_t total = 0;
    for (size_t i = first; i < symbols; ++i) {
      order.push_back(i);
      total += given_.often[i];
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return given_.sizes[a] < given_.sizes[b]; });
    int64_t before = 0, median = given_.sizes[order.back()];
    for (const size_t i : order)
      if (2 * (before += given_.often[i]) >= total) {
        median = given_.sizes[i];
        break;
      }
    constexpr int64_t kFar = 6 * kScale;
    int64_t least = median - kFar;
    for (const size_t i : order)
      if (1000 * given_.often[i] > total) {
        least = std::max(given_.sizes[i], least);
        break;
      }
    std::vector<int64_t> sizes(given_.sizes.begin(), given_.sizes.end());
    for (size_t i = first; i < symbols; ++i) sizes[i] = std::min(std::max(sizes[i], least), median + kFar);
    if (first > 0) sizes[0] = least - kScale;
    const int64_t smallest = *std::min_element(sizes.begin(), sizes.end());
    for (size_t i = 0; i < symbols; ++i) sizes_[i] = static_cast<int16_t>(sizes[i] - smallest);
  }

  // What the words of each coordinate are larger by than all, in 1/65536 octave, by a part of the words.
  void measure() {
    const int64_t rows = given_.dims[0], columns = count_ / rows;
    const int64_t share = many_ && rows >= kFewestRows && columns >= kFewestColumns ? kShare : 1;
    std::vector<std::vector<int64_t>> counts(axes_);
    for (const int64_t length : given_.dims) deviations_.emplace_back(length, 0);
    std::vector<int64_t> of_columns(static_cast<size_t>(columns));
    sum_sizes(given_.symbols, sizes_.data(), rows, columns, share, deviations_[0].data(), of_columns.data());
    const auto runs = [&](int64_t number) { return (rows + share - 1 - number % share) / share; };
    for (size_t axis = 0; axis < axes_; ++axis) counts[axis].resize(given_.dims[axis]);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t first = row % share * kSummed; first < columns; first += share * kSummed)
        counts[0][row] += std::min(columns - first, kSummed);
    int64_t inside = columns, total = 0, looked_at = 0;
    for (size_t axis = 1; axis < axes_; ++axis) {
      const int64_t length = given_.dims[axis];
      inside /= length;
      for (int64_t column = 0; column < columns; ++column) {
        deviations_[axis][column / inside % length] += of_columns[column];
        counts[axis][column / inside % length] += runs(column / kSummed);
      }
    }
    for (int64_t row = 0; row < rows; ++row) {
      total += deviations_[0][row];
      looked_at += counts[0][row];
    }
    const int64_t overall = (total << 8) / looked_at;
    int64_t variance = 0;
    for (size_t axis = 0; axis < axes_; ++axis) {
      const int64_t length = given_.dims[axis];
      int64_t squares = 0;
      for (int64_t i = 0; i < length; ++i) {
        int64_t& own = deviations_[axis][i];
        own = (own << 8) / counts[axis][i] - overall;
        squares += own * own >> 8;
      }
      variance += squares / length;
      if (count_ / length >= 8) usable_ |= 1u << axis;
    }
    spread_ = std::max<int64_t>(root_of(variance << 8), 1);
  }

  // Large tensors are looked at by some of their rows.
  void sample() {
    const int64_t rows = given_.dims[0], columns = count_ / rows;
    step_ = rows >= 64 ? std::max<int64_t>(count_ / (many_ ? kSampleOfFew : kSample), 1) : 1;
    step_ = std::min(step_, std::max<int64_t>(rows / 16, 1));
    kept_ = (rows + step_ - 1) / step_;
    some_ = given_.symbols;
    if (step_ == 1) return;
    copied_.resize(static_cast<size_t>(kept_ * columns));
    for (int64_t row = 0; row < kept_; ++row)
      std::memcpy(copied_.data() + row * columns, given_.symbols + row * step_ * columns, static_cast<size_t>(columns));
    some_ = copied_.data();
  }

  int64_t bits(unsigned axes, int width, int tables) {
    Description d;
    d.dims = given_.dims;
    d.dims[0] = kept_;
    d.base = tables / 2;
    d.tables = tables;
    d.classes.resize(axes_);
    int64_t side = 0;
    for (size_t axis = 0; axis < axes_; ++axis) {
      if (!(axes >> axis & 1)) continue;
      const std::vector<int8_t> classes = classes_of(axis, width);
      std::array<int64_t, 2 * kClassZero> often{};
      for (const int8_t one : classes) ++often[static_cast<size_t>(one + kClassZero)];
      side += entropy_of(often.data(), 1, 0, 2 * kClassZero) + kBitsOfAxis;
      if (axis > 0) {
        d.classes[axis] = classes;
        continue;
      }
      for (int64_t row = 0; row < kept_; ++row) d.classes[0].push_back(classes[row * step_]);
    }
    std::vector<uint32_t> counts(static_cast<size_t>(tables) * kMaxSymbols);
    count_by_table(some_, kept_ * (count_ / given_.dims[0]), TableWalk(d), counts.data());
    const auto symbols = static_cast<int64_t>(given_.often.size());
    int64_t used = 0, entries = 0;
    for (int table = 0; table < tables; ++table) {
      const uint32_t* row = counts.data() + table * kMaxSymbols;
      const int64_t own = symbols - std::count(row, row + symbols, 0u);
      entries += own;
      used += own > 0;
    }
    const int64_t rows = given_.dims[0], fit = (rows - kept_) * (entries - used) * kFit / kept_;
    return entropy_of(counts.data(), tables, kMaxSymbols, symbols) * rows / kept_ + fit + kBitsOfTable * used +
           kBitsOfEntry * entries + side;
  }

  const Grouped& given_;
  size_t axes_;
  std::array<int16_t, kMaxSymbols> sizes_{};
  int64_t count_ = 1, spread_ = 1, step_ = 1, kept_ = 0;
  unsigned usable_ = 0;
  bool many_ = false;
  std::vector<std::vector<int64_t>> deviations_;
  std::vector<uint8_t> copied_;
  const uint8_t* some_ = nullptr;
};

// Tables from the first that is used to the last; one between that is not counts as the one before it.
void keep_used(Groups& groups) {
  auto& counts = groups.counts;
  const auto row = [&](int64_t table) { return counts.begin() + table * kMaxSymbols; };
  const auto any = [&](int64_t table) {
    return std::any_of(row(table), row(table + 1), [](uint32_t count) { return count != 0; });
  };
  int64_t tables = static_cast<int64_t>(counts.size()) / kMaxSymbols, used = 0;
  while (!any(used)) ++used;
  const int64_t first = std::min<int64_t>(used, groups.base);
  while (!any(tables - 1)) --tables;
  if (first < used) std::copy(row(used), row(used + 1), row(first));
  for (int64_t table = first + 1; table < tables; ++table)
    if (!any(table)) std::copy(row(table - 1), row(table), row(table));
  counts.resize(static_cast<size_t>(tables * kMaxSymbols));
  counts.erase(counts.begin(), row(first));
  groups.base -= static_cast<int>(first);
}

void find_classes(const Grouped& given, Groups& out) {
  out.classes.resize(given.dims.size());
  Search search(given);
  const std::optional<Way> way = search.best();
  if (!way) {
    out.counts.assign(kMaxSymbols, 0);
    std::copy(given.often.begin(), given.often.end(), out.counts.begin());
    return;
  }
  Description d;
  d.dims = given.dims;
  d.tables = way->tables;
  d.base = out.base = way->tables / 2;
  for (size_t axis = 0; axis < given.dims.size(); ++axis)
    if (way->axes >> axis & 1) out.classes[axis] = search.classes_of(axis, way->width);
  d.classes = out.classes;
  int64_t count = 1;
  for (const int64_t length : given.dims) count *= length;
  out.counts.resize(static_cast<size_t>(way->tables) * kMaxSymbols);
  count_by_table(given.symbols, count, TableWalk(d), out.counts.data());
  keep_used(out);
}

void set_logs(Groups& groups, size_t symbols) {
  const size_t tables = groups.counts.size() / kMaxSymbols;
  int64_t every = 0;
  for (const uint32_t count : groups.counts) every += count;
  const int64_t per_table = every / static_cast<int64_t>(tables);
  groups.steps = per_table < 1 << 13 ? 4 : per_table < 1 << 16 ? 8 : 16;
  for (size_t table = 0; table < tables; ++table) {
    const uint32_t* row = groups.counts.data() + table * kMaxSymbols;
    int64_t total = 0;
    for (size_t i = 0; i < symbols; ++i) total += row[i];
    const int64_t whole = (kPrecision + 1) * kOne - log2_of(total);
    for (size_t i = 0; i < symbols; ++i) {
      const int64_t log = ((log2_of(row[i]) + whole) * groups.steps + kOne / 2) >> 16;
      const int64_t most = (kPrecision + 1) * groups.steps;
      groups.logs.push_back(row[i] > 0 ? static_cast<uint8_t>(1 + std::clamp<int64_t>(log, 0, most)) : uint8_t{0});
    }
  }
}

}  // namespace

Groups group(const Grouped& given) {
  Groups out;
  find_classes(given, out);
  set_logs(out, given.sizes.size());
  return out;
}

}  // namespace tersely::ans
