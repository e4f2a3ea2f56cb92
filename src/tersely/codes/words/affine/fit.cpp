// Which scale and numbers words were made of: words are what scale x k rounds to, so each k leaves an interval for the
// scale, and the intervals of all words of a group have a scale in common or the words are none of this formulation.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/backends/cpu/matrix/word_map.hpp"
#include "tersely/codes/words/affine/affine.hpp"
#include "tersely/codes/words/affine/panels.hpp"
#include "tersely/codes/words/affine/words.hpp"

namespace tersely {
namespace {

// Up to here |k| is told from a bfloat16 word: it is off scale x k by at most one in 256, so word / scale by at most
// one.
constexpr int kMaxTimes = 255;
constexpr int kMaxSteps = 127;  // what the least size may be a multiple of
constexpr int kTries = 16;      // scales of each dtype that are tried in an interval

// All bits of a word but the sign.
uint32_t size_mask(DType dtype) { return dtype == DType::kFloat32 ? 0x7FFFFFFF : 0x7FFF; }

// Sizes of words that scales can be found for: none so small that its scale could be subnormal (processors may be told
// to take these for zero), none so large that padding, whose number is as good as any, could be infinite.
bool is_usable(DType dtype, uint32_t size) {
  if (size == 0) return true;
  if (dtype == DType::kFloat16) return size < 0x5400;  // 64
  const uint32_t exponent = dtype == DType::kFloat32 ? size >> 23 : size >> 7;
  return exponent > 8 && exponent < 190;
}

struct Size {
  uint32_t word;
  double below, value, above;  // what rounds to the word lies between
  int times;
};

// A scale between lowest and highest that gives all words back, NaN if there is none.
class ScaleSearch {
 public:
  ScaleSearch(DType dtype, const Size* sizes, int count) : dtype_(dtype), sizes_(sizes), count_(count) {}

  float find(DType kind, double lowest, double highest) const {
    const auto fits = [&](float scale) {
      for (int i = 0; i < count_; ++i)
        if (word_of(dtype_, scale * static_cast<float>(sizes_[i].times)) != sizes_[i].word) return false;
      return true;
    };
    const float middle = static_cast<float>((lowest + highest) / 2);
    if (kind == DType::kFloat32) {
      if (fits(middle)) return middle;
      for (int i = 0; i <= kTries; ++i) {  // there may be very many between: some of them
        const auto scale = static_cast<float>(lowest + (highest - lowest) * i / kTries);
        if (fits(scale)) return scale;
      }
      return std::numeric_limits<float>::quiet_NaN();
    }
    uint32_t word = word_of(kind, static_cast<float>(lowest));
    for (int i = 0; i < kTries; ++i, ++word) {
      const float scale = value_of(kind, word);
      if (!(static_cast<double>(scale) <= highest * (1 + 0x1p-20))) break;
      if (scale > 0 && fits(scale)) return scale;
    }
    return std::numeric_limits<float>::quiet_NaN();
  }

 private:
  const DType dtype_;
  const Size* sizes_;
  const int count_;
};

// Multiples of one scale that round to the sizes, the least size being a given one. Each leaves an interval for the
// scale. Where the middle of what is left lies far from the scale, the nearest multiple is not the right one, so
// others that the interval allows are tried after it.
template <class HasScale>
class MultipleSearch {
 public:
  MultipleSearch(Size* sizes, int count, const HasScale& has_scale)
      : sizes_(sizes), count_(count), has_scale_(has_scale), visits_(kFewVisits + 4 * count) {}

  // Whether there are such multiples, in sizes' `times`, and has_scale says that a scale gives them.
  bool find(int steps) { return attempt(0, steps, 0, std::numeric_limits<double>::infinity()) == Outcome::kFound; }

 private:
  static constexpr int kFewVisits = 64;
  enum class Outcome : uint8_t { kFound, kNone, kEmpty };

  // Of the sizes from `at` on, where those before leave this interval.
  bool search(int at, double lowest, double highest) {
    if (at == count_) return has_scale_(lowest, highest);
    const double times = sizes_[at].value / ((lowest + highest) / 2);
    if (!(times < kMaxTimes + 2)) return false;
    const int nearest = static_cast<int>(times + 0.5), side = times >= nearest ? 1 : -1;
    if (attempt(at, nearest, lowest, highest) == Outcome::kFound) return true;
    bool open[2] = {true, true};
    for (int far = 1; open[0] || open[1]; ++far)
      for (int k = 0; k < 2; ++k) {
        if (!open[k]) continue;
        const Outcome outcome = attempt(at, nearest + (k == 0 ? side : -side) * far, lowest, highest);
        if (outcome == Outcome::kFound) return true;
        open[k] = outcome == Outcome::kNone;
      }
    return false;
  }

  Outcome attempt(int at, int times, double lowest, double highest) {
    if (times < 1 || times > kMaxTimes || visits_ == 0) return Outcome::kEmpty;
    --visits_;
    Size& size = sizes_[at];
    lowest = std::max(lowest, size.below / times), highest = std::min(highest, size.above / times);
    if (lowest > highest) return Outcome::kEmpty;
    size.times = times;
    return search(at + 1, lowest, highest) ? Outcome::kFound : Outcome::kNone;
  }

  Size* const sizes_;
  const int count_;
  const HasScale& has_scale_;
  int visits_;
};

struct GroupFit {
  float scales[3];
  int low, high;
};

// words: distinct, finite, no -0.0.
// wanted: of which dtypes scales are; float32 always.
bool fit_group(DType dtype, const uint32_t* words, int count, const bool (&wanted)[3], GroupFit& fit) {
  uint32_t ordered[WordMap::kMaxWords];  // size, then sign
  int signed_sizes = 0, found = 0;
  bool has_zero = false;
  for (int i = 0; i < count; ++i) {
    const uint32_t size = words[i] & size_mask(dtype);
    if (!is_usable(dtype, size)) return false;
    if (size == 0)
      has_zero = true;
    else
      ordered[signed_sizes++] = size << 1 | (words[i] != size);
  }
  if (signed_sizes == 0) {
    fit = {{1, 1, 1}, 0, 0};
    return true;
  }
  std::sort(ordered, ordered + signed_sizes);
  Size sizes[WordMap::kMaxWords];
  int first[2] = {-1, -1}, last[2] = {-1, -1};  // sizes of positive and of negative words
  for (int i = 0; i < signed_sizes; ++i) {
    const uint32_t word = ordered[i] >> 1;
    if (found == 0 || sizes[found - 1].word != word) {
      const double value = value_of(dtype, word);
      sizes[found++] = {word, (value + value_of(dtype, word - 1)) / 2, value, (value + value_of(dtype, word + 1)) / 2,
                        0};
    }
    const int sign = ordered[i] & 1;
    if (first[sign] < 0) first[sign] = found - 1;
    last[sign] = found - 1;
  }
  const auto signed_range = [&] {
    fit.low = last[1] >= 0 ? -sizes[last[1]].times : has_zero ? 0 : sizes[first[0]].times;
    fit.high = last[0] >= 0 ? sizes[last[0]].times : has_zero ? 0 : -sizes[first[1]].times;
    return fit.high - fit.low <= kMaxTimes;
  };
  const ScaleSearch search(dtype, sizes, found);
  const auto has_scale = [&](double lowest, double highest) {
    if (!signed_range()) return false;
    fit.scales[0] = search.find(DType::kFloat32, lowest, highest);
    for (int kind = 1; kind < 3; ++kind)
      fit.scales[kind] = wanted[kind] || std::isnan(fit.scales[0])
                             ? search.find(static_cast<DType>(kind), lowest, highest)
                             : std::numeric_limits<float>::quiet_NaN();
    // A scale of 16 bits is one of 32, too.
    if (std::isnan(fit.scales[0])) fit.scales[0] = std::isnan(fit.scales[1]) ? fit.scales[2] : fit.scales[1];
    return !std::isnan(fit.scales[0]);
  };
  for (int steps = 1; steps <= kMaxSteps; ++steps)
    if (MultipleSearch(sizes, found, has_scale).find(steps)) return true;
  return false;
}

}  // namespace

bool affine_fit(const uint8_t* words, DType dtype, const Geometry& g, int64_t group_chunks, AffineFit& fit,
                int threads) {
  const int64_t columns = group_chunks * kChunkColumns, groups = ceil_div(g.chunks_per_panel, group_chunks);
  const uint32_t negative_zero = size_mask(dtype) + 1;
  std::atomic<bool> fits{true}, negative_zeros{false}, possible[3]{true, true, true};
  parallel_for(threads, g.panels, [&](int64_t panel) {
    if (!fits) return;
    static thread_local Scratch scratch;
    auto* memory = scratch.get<uint32_t>(g.columns * kPanelRows * 4);
    const int64_t rows = copy_panel(words, dtype, g, panel, memory);
    WordMap map;
    for (int64_t i = 0; i < groups * kPanelRows; ++i) {
      const int64_t row = i / groups, group = i % groups, at = (panel * groups + group) * kPanelRows + row;
      GroupFit own{{1, 1, 1}, 0, 0};
      if (row < rows) {
        map.clear();
        bool negative = false;
        for (int64_t column = group * columns; column < std::min((group + 1) * columns, g.columns); ++column) {
          uint32_t word = memory[row * g.columns + column];
          if (word == negative_zero) negative = true, word = 0;
          if (map.add(word) < 0) {
            fits = false;
            return;
          }
        }
        if (negative) negative_zeros = true;
        const bool wanted[3] = {true, possible[1], possible[2]};
        if (!fit_group(dtype, map.words(), map.size(), wanted, own)) {
          fits = false;
          return;
        }
        for (int kind = 1; kind < 3; ++kind)
          if (std::isnan(own.scales[kind])) possible[kind] = false;
      }
      for (int kind = 0; kind < 3; ++kind) fit.scales[kind][at] = own.scales[kind];
      fit.low[at] = static_cast<int16_t>(own.low);
      fit.high[at] = static_cast<int16_t>(own.high);
    }
  });
  fit.negative_zeros = negative_zeros;
  return fits;
}

bool affine_numbers(const uint8_t* words, DType dtype, const Geometry& g, const AffineScales& scales, int most,
                    uint8_t* numbers, uint8_t* negative, int threads) {
  const uint32_t negative_zero = size_mask(dtype) + 1;
  std::atomic<bool> all{true};
  parallel_for(threads, g.panels, [&](int64_t panel) {
    static thread_local Scratch scratch;
    auto* memory = scratch.get<uint32_t>(g.columns * kPanelRows * 4);
    const int64_t rows = copy_panel(words, dtype, g, panel, memory);
    bool own = true;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t group = 0; group < scales.groups; ++group) {
        const int64_t group_index = panel * scales.groups + group;
        float scale;
        std::memcpy(&scale, scales.scales + (group_index * kPanelRows + row) * 4, 4);
        const int zero = zero_at(scales, group_index, row);
        const double inverse = 1.0 / static_cast<double>(scale);
        const int64_t columns = scales.group_chunks * kChunkColumns;
        for (int64_t column = group * columns; column < std::min((group + 1) * columns, g.columns); ++column) {
          const uint32_t word = memory[row * g.columns + column];
          const auto nearest = static_cast<int>(
              std::nearbyint(std::clamp(static_cast<double>(value_of(dtype, word)) * inverse, -1e6, 1e6)));
          int number = -1;
          for (const int times : {nearest, nearest - 1, nearest + 1})
            if (times + zero >= 0 && times + zero <= most &&
                word_of(dtype, scale * static_cast<float>(times)) == (word == negative_zero ? 0 : word)) {
              number = times + zero;
              break;
            }
          own = own && number >= 0;
          const int64_t at = row_offset(g, panel, static_cast<int>(row)) + column_offset(g, column);
          numbers[at] = static_cast<uint8_t>(number);
          if (negative != nullptr) negative[at] = word == negative_zero;
        }
      }
    if (!own) all = false;
  });
  return all;
}

void affine_row_fields(const uint8_t* numbers, const Geometry& g, int bits, uint8_t* out, int threads) {
  const int64_t panel_bytes = panel_line_bytes(g, bits);
  parallel_for(threads, g.panels, [&](int64_t panel) {
    uint8_t* to = out + panel * panel_bytes;
    std::memset(to, 0, static_cast<size_t>(panel_bytes));
    const int rows = static_cast<int>(std::min(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows));
    for (int64_t first = 0; first < g.columns; first += kSegmentColumns) {
      const int64_t columns = std::min(kSegmentColumns, g.columns - first);
      const int64_t row_bytes = ceil_div(columns, line_columns(bits)) * kLineBytes;
      for (int row = 0; row < rows; ++row) {
        uint8_t* line = to + row * row_bytes;
        for (int64_t column = 0; column < columns; ++column) {
          const int64_t inside = column % line_columns(bits), shift = inside / kStepColumns * bits;
          const uint8_t number = numbers[row_offset(g, panel, row) + column_offset(g, first + column)];
          line[column / line_columns(bits) * kLineBytes + inside % kStepColumns * 4 + shift / 8] |=
              static_cast<uint8_t>(number << shift % 8);
        }
      }
      to += kPanelRows * row_bytes;
    }
  });
}

void affine_signs(const uint8_t* numbers, const uint8_t* negative, const Geometry& g, const AffineScales& scales,
                  uint64_t* bytes, uint8_t* signs, int threads) {
  parallel_for(threads, g.segments, [&](int64_t segment) {
    const UnitPanels panels = unit_panels(g, segment / g.segments_per_panel);
    const int64_t first = segment % g.segments_per_panel * kSegmentColumns;
    const int64_t last = g.segments_per_panel == 1 ? g.columns : std::min(first + kSegmentColumns, g.columns);
    uint8_t* out = signs == nullptr ? nullptr : signs + scales.directory[segment];
    int64_t count = 0;
    for (int64_t panel = panels.first; panel < panels.last; ++panel) {
      const int rows = static_cast<int>(std::min(kPanelRows, g.rows - panel % g.panels_per_matrix * kPanelRows));
      for (int64_t column = first; column < last; ++column) {
        const int64_t group_index = panel * scales.groups + column / kChunkColumns / scales.group_chunks;
        for (int row = 0; row < rows; ++row) {
          const int64_t at = row_offset(g, panel, row) + column_offset(g, column);
          if (numbers[at] != zero_at(scales, group_index, row)) continue;
          if (out != nullptr && negative[at]) out[count / 8] |= static_cast<uint8_t>(1 << count % 8);
          ++count;
        }
      }
    }
    if (bytes != nullptr) bytes[segment] = static_cast<uint64_t>(ceil_div(count, 8));
  });
}

}  // namespace tersely
