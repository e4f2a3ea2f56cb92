// See description.hpp and description.py: the syntax is said once, for both ways.
#include "tersely/storage/ans/description.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace tersely::ans {
namespace {

enum Kind {
  kHead,
  kLengths,
  kPalette,
  kGaps,
  kExtras,
  kStreams,
  kClasses,
  kAbsent,
  kResidual,
  kFlags,
  kBase,
  kTables,
  kSteps,
  kLong
};
enum Flag { kWideLanes, kZero, kWideSymbols, kClassed, kWidestLanes, kLow };

// The first problem is what is said; nothing is read after it.
#define TERSELY_HOLD(holds, problem)                                                                  \
  if (coder.failed()) return "too long a number, or an end too early, in the description of a block"; \
  if (!(holds)) return problem " in the description of a block"

template <class Coder>
int flag(Coder& coder, Flag which, bool value) {
  return coder.bit(kFlags * kContextsPerKind + which, value);
}

template <class Coder>
const char* code_palette(Coder& coder, Description& d, int64_t entries, int value_bits) {
  uint64_t last = ~uint64_t{0};
  if (Coder::kReading) d.palette.clear();
  for (int64_t i = 0; i < entries; ++i) {
    const uint64_t gap = coder.number(kPalette, Coder::kReading ? 0 : d.palette[i] - last - 1);
    const uint64_t value = last + 1 + gap;
    TERSELY_HOLD(i == 0 || (last != ~uint64_t{0} && value > last), "too large a word");
    if (Coder::kReading) d.palette.push_back(value);
    last = value;
  }
  TERSELY_HOLD(value_bits == 64 || last >> value_bits == 0, "a palette of too large words");
  return nullptr;
}

template <class Coder>
const char* code_bins(Coder& coder, Description& d, int head_bits) {
  const auto count = static_cast<int64_t>(1 + coder.number(kHead, d.starts.size() - !Coder::kReading));
  TERSELY_HOLD(count <= kMaxSymbols, "too many symbols");
  const bool wide = flag(coder, kWideSymbols, d.wide());
  if (Coder::kReading) {
    d.starts.assign(count, 0);
    d.extras.assign(count, 0);
  }
  uint64_t end = 0;
  for (int64_t i = d.zero; i < count; ++i) {
    const uint64_t gap = coder.number(kGaps, Coder::kReading ? 0 : d.starts[i] - end);
    const bool wraps = (end == 0 && i > d.zero) || end + gap < end;  // a symbol before it ended with the last head
    end += gap;
    TERSELY_HOLD(!wraps && (head_bits == 64 || end >> head_bits == 0), "a head beyond the last");
    d.starts[i] = end;
    if (wide) {
      const uint64_t extra = coder.number(kExtras, d.extras[i]);
      TERSELY_HOLD(extra <= kMaxExtra, "too many extra bits of a symbol");
      d.extras[i] = static_cast<uint8_t>(extra);
    }
    end += uint64_t{1} << d.extras[i];
  }
  return nullptr;
}

template <class Coder>
const char* code_axes(Coder& coder, Description& d, int64_t count) {
  const auto axes = static_cast<int64_t>(1 + coder.number(kLengths, d.dims.size() - !Coder::kReading));
  TERSELY_HOLD(axes <= kMaxAxes, "too many axes");
  if (Coder::kReading) {
    d.dims.assign(axes, 0);
    d.classes.assign(axes, {});
  }
  int64_t all = 1;
  for (int64_t& length : d.dims) {
    const uint64_t less = coder.number(kLengths, Coder::kReading ? 0 : length - 1);
    TERSELY_HOLD(less < static_cast<uint64_t>(count), "too long an axis");
    length = static_cast<int64_t>(less) + 1;
    TERSELY_HOLD(length <= count / all, "axes of another tensor");
    all *= length;
  }
  TERSELY_HOLD(all == count, "axes of another tensor");
  for (int64_t axis = 0; axis < axes; ++axis) {
    auto& classes = d.classes[axis];
    if (!flag(coder, kClassed, !classes.empty())) continue;
    if (Coder::kReading) classes.assign(d.dims[axis], 0);
    for (int8_t& one : classes) {
      one = static_cast<int8_t>(coder.tree(kClasses, kClassBits, one + kClassZero) - kClassZero);
      if (coder.failed()) break;
    }
  }
  d.base = coder.tree(kBase, 4, d.base);
  return nullptr;
}

template <class Coder>
int code_signed(Coder& coder, int context, int value) {
  const int at = kResidual * kContextsPerKind + context * 20;
  if (!coder.bit(at, value != 0)) return 0;
  const bool negative = coder.bit(at + 1, value < 0);
  const int wanted = std::abs(value);
  int size = 1;
  while (size < 15 && coder.bit(at + 1 + size, size < wanted)) ++size;
  if (size == 15) size += static_cast<int>(std::min<uint64_t>(coder.number(kLong, std::max(wanted - 15, 0)), 1 << 20));
  return negative ? -size : size;
}

// Logarithms of tables, [tables][symbols].
template <class Coder>
const char* code_rows(Coder& coder, int tables, int symbols, int steps, std::vector<uint8_t>& logs) {
  const int most = (kPrecision + 1) * steps + 1;
  if (Coder::kReading) logs.assign(static_cast<size_t>(tables) * symbols, 0);
  const std::vector<uint8_t> none(symbols, 0);
  for (int number = 0; number < tables; ++number) {
    uint8_t* row = logs.data() + number * symbols;
    const uint8_t* before = number == 0 ? none.data() : row - symbols;
    int last = most / 2, size = 0;
    bool any = false;
    for (int symbol = 0; symbol < symbols; ++symbol) {
      const int context =
          2 * (symbol == 0 || row[symbol - 1] > 0) + (number == 0 || before[symbol] > 0) + 4 * (number > 0);
      if (!coder.bit(kAbsent * kContextsPerKind + context, row[symbol] > 0)) continue;
      int guess = last;
      if (before[symbol]) {
        guess = before[symbol];
        if (symbol > 0 && row[symbol - 1] && before[symbol - 1])
          guess = std::clamp(last + before[symbol] - before[symbol - 1], 1, most);
      }
      const int error = code_signed(coder, size == 0 ? 0 : size < 3 ? 1 : 2, row[symbol] - guess);
      size = std::abs(error);
      last = guess + error;
      TERSELY_HOLD(1 <= last && last <= most, "a frequency out of range");
      row[symbol] = static_cast<uint8_t>(last);
      any = true;
    }
    TERSELY_HOLD(any, "an empty table");
  }
  return nullptr;
}

template <class Coder>
const char* code_tables(Coder& coder, Description& d) {
  d.tables = 1 + coder.tree(kTables, 4, Coder::kReading ? 0 : d.tables - 1);
  d.steps = 2 << coder.tree(kSteps, 2, std::countr_zero(static_cast<unsigned>(d.steps)) - 1);
  return code_rows(coder, d.tables, d.symbols(), d.steps, d.logs);
}

template <class Coder>
const char* code_low(Coder& coder, Description& d, bool palette) {
  if (!flag(coder, kLow, d.low > 0)) return nullptr;
  d.low = 1 + static_cast<int>(coder.direct(3, Coder::kReading ? 0 : static_cast<uint64_t>(d.low) - 1));
  TERSELY_HOLD(d.low <= d.raw && !palette, "lowest bits of none");
  return code_rows(coder, 1, 1 << d.low, kFinest, d.low_logs);
}

template <class Coder>
const char* code(Coder& coder, Description& d, int64_t count, int word_bits) {
  d.lanes = !flag(coder, kWideLanes, d.lanes > 4) ? 4 : flag(coder, kWidestLanes, d.lanes == 64) ? 64 : 32;
  const uint64_t trim = coder.number(kHead, d.trim);
  TERSELY_HOLD(trim < static_cast<uint64_t>(word_bits), "too many trimmed bits");
  d.trim = static_cast<int>(trim);
  const uint64_t entries = coder.number(kPalette, d.palette.size());
  TERSELY_HOLD(entries <= kMaxPalette, "too long a palette");
  int value_bits = word_bits - d.trim;
  if (entries > 0) {
    if (const char* problem = code_palette(coder, d, static_cast<int64_t>(entries), value_bits)) return problem;
    value_bits = 64 - std::countl_zero(entries - 1);
  }
  const uint64_t raw = coder.number(kHead, d.raw);
  TERSELY_HOLD(raw <= static_cast<uint64_t>(value_bits), "too many raw bits");
  d.raw = static_cast<int>(raw);
  d.zero = flag(coder, kZero, d.zero);
  if (const char* problem = code_low(coder, d, entries > 0)) return problem;
  if (const char* problem = code_bins(coder, d, value_bits - d.raw)) return problem;
  if (const char* problem = code_axes(coder, d, count)) return problem;
  if (d.several())
    if (const char* problem = code_tables(coder, d)) return problem;
  if (Coder::kReading) d.streams.clear();
  const bool wide = d.wide();
  for (int64_t first = 0; first < count; first += kStreamSymbols) {
    Stream stream;
    if (!Coder::kReading) stream = d.streams[first / kStreamSymbols];
    const int64_t symbols = std::min(count - first, kStreamSymbols);
    if (d.several()) {
      const uint64_t words = coder.number(kStreams, stream.words);
      TERSELY_HOLD(words <= static_cast<uint64_t>(symbols), "a stream of too many words");
      stream.words = static_cast<int64_t>(words);
    }
    if (d.low > 0) {
      const uint64_t words = coder.number(kStreams, stream.low);
      TERSELY_HOLD(words <= static_cast<uint64_t>(symbols), "a stream of too many words");
      stream.low = static_cast<int64_t>(words);
    }
    const uint64_t zeros = d.zero ? coder.number(kStreams, Coder::kReading ? 0 : symbols - stream.kept) : 0;
    TERSELY_HOLD(zeros <= static_cast<uint64_t>(symbols), "more zeros than weights");
    stream.kept = symbols - static_cast<int64_t>(zeros);
    if (wide) {
      const uint64_t extra = coder.number(kStreams, stream.extra);
      TERSELY_HOLD(extra <= static_cast<uint64_t>(symbols * kMaxExtra), "too many extra bits");
      stream.extra = static_cast<int64_t>(extra);
    }
    if (Coder::kReading) d.streams.push_back(stream);
  }
  TERSELY_HOLD(true, "");
  return nullptr;
}

}  // namespace

void describe(Writer& writer, Description& d, int64_t count, int word_bits) {
  if (const char* problem = code(writer, d, count, word_bits)) throw std::logic_error(problem);
}

const char* describe(Reader& reader, Description& d, int64_t count, int word_bits) {
  const char* problem = code(reader, d, count, word_bits);
  if (problem == nullptr && !reader.all_read()) problem = "bytes behind the side information of a block";
  return problem;
}

std::vector<uint32_t> frequencies(const uint8_t* logs, int symbols, int steps) {
  // Powers of two to the sixteenths, in 2^-14.
  static constexpr uint64_t kPowers[kFinest] = {16384, 17109, 17867, 18658, 19484, 20347, 21247, 22188,
                                                23170, 24196, 25268, 26386, 27554, 28774, 30048, 31379};
  std::vector<uint64_t> weights(symbols);
  uint64_t total = 0;
  for (int i = 0; i < symbols; ++i) {
    if (logs[i] > 0) weights[i] = kPowers[(logs[i] - 1) % steps * (kFinest / steps)] << (logs[i] - 1) / steps;
    total += weights[i];
  }
  constexpr int64_t kWhole = 1 << kPrecision;
  std::vector<uint32_t> out(symbols);
  int64_t left = kWhole;
  for (int i = 0; i < symbols; ++i) {
    if (weights[i] > 0) out[i] = static_cast<uint32_t>(std::max<uint64_t>(weights[i] * kWhole / total, 1));
    left -= out[i];
  }
  const auto largest = [&] { return std::max_element(out.begin(), out.end()) - out.begin(); };
  while (left != 0) {
    uint32_t& most = out[largest()];
    const int64_t change = std::max<int64_t>(left, -static_cast<int64_t>(most / 2));
    most = static_cast<uint32_t>(most + change);
    left -= change;
  }
  const auto at = largest();
  if (out[at] == kWhole) {
    --out[at];
    out[at + 1 < symbols ? at + 1 : at - 1] = 1;
  }
  return out;
}

TableWalk::TableWalk(const Description& d) : length_(1), base_(d.base), last_(std::max(d.tables, 1) - 1) {
  rows_ = d.classes[0];
  for (size_t axis = 1; axis < d.dims.size(); ++axis) length_ *= d.dims[axis];
  columns_.assign(length_, 0);
  int64_t inside = length_;
  for (size_t axis = 1; axis < d.dims.size(); ++axis) {
    inside /= d.dims[axis];
    if (d.classes[axis].empty()) continue;
    for (int64_t i = 0; i < length_;)
      for (const int8_t one : d.classes[axis])  // at most five axes of five bits: no overflow
        for (const int64_t end = i + inside; i < end; ++i) columns_[i] = static_cast<int8_t>(columns_[i] + one);
  }
}

void TableWalk::tables(int64_t first, int64_t count, uint8_t* out) const {
  if (last_ == 0) {
    std::memset(out, 0, static_cast<size_t>(count));
    return;
  }
  const auto& add = active_table().ans.tables;
  int64_t row = first / length_, column = first % length_;
  while (count > 0) {
    const int64_t some = std::min(length_ - column, count);
    add(columns_.data() + column, some, base_ + (rows_.empty() ? 0 : rows_[row]), last_, out);
    out += some;
    count -= some;
    column = 0;
    ++row;
  }
}

}  // namespace tersely::ans
