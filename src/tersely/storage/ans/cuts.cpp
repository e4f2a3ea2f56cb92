// See cuts.hpp.
#include "tersely/storage/ans/cuts.hpp"

#include <algorithm>

#include "tersely/storage/ans/binary.hpp"
#include "tersely/storage/ans/description.hpp"
#include "tersely/storage/ans/logarithm.hpp"

namespace tersely::ans {
namespace {

constexpr int64_t kBitsOfEntry = 144179;  // 2.2 bits
constexpr uint64_t kMaxNumber = (uint64_t{1} << kMaxBits) - 2;

bool can_be_said(const std::vector<uint64_t>& starts) {
  if (starts.empty() || starts.size() > static_cast<size_t>(kMaxSymbols)) return false;
  if (starts.back() <= kMaxNumber) return true;
  uint64_t before = 0, widest = 0;
  for (const uint64_t start : starts) {
    widest = std::max(widest, start - before);
    before = start;
  }
  return widest <= kMaxNumber;
}

// Heads so rare that a table could not say how rare share a symbol with their neighbours. bits -1: too many symbols.
Cut cut_heads(const std::vector<uint64_t>& known, const std::vector<int64_t>& often, const Heads& heads, int raw,
              bool zero) {
  Cut cut;
  cut.raw = raw;
  cut.zero = zero;
  int64_t bits = 0;
  if (zero) {
    cut.starts.push_back(0);
    cut.extras.push_back(0);
    cut.often.push_back(heads.zeros);
  }
  const int64_t rare = heads.total >> (kPrecision + 1);
  for (size_t at = 0; at < known.size();) {
    size_t end = at + 1, last = end;
    int extra = 0;
    int64_t mass = often[at], more = mass;  // of [at, end), of [at, last)
    for (int wider = 1; often[at] <= rare && wider <= kMaxExtra; ++wider) {
      // All that lies in the interval counts, or a common head would be swallowed.
      for (; last < known.size() && known[last] - known[at] < uint64_t{1} << wider; ++last) more += often[last];
      if (last > end && more <= rare) {
        end = last;
        extra = wider;
        mass = more;
      } else if (last > end || last == known.size()) {
        break;
      }
    }
    cut.starts.push_back(known[at]);
    cut.extras.push_back(static_cast<uint8_t>(extra));
    cut.often.push_back(mass);
    bits += extra * mass * kOne;
    at = end;
    if (cut.starts.size() > static_cast<size_t>(kMaxSymbols)) return cut;
  }
  if (!can_be_said(cut.starts)) return cut;
  const auto symbols = static_cast<int64_t>(cut.starts.size());
  bits += entropy_of(cut.often.data(), 1, symbols, symbols);
  bits += raw * (heads.total - (zero ? heads.zeros : 0)) * kOne + kBitsOfEntry * symbols;
  cut.bits = bits + heads.total * symbols * 16 / 5;
  return cut;
}

}  // namespace

Cut best_cut(const Heads& heads, std::span<const int64_t> raws, bool floats) {
  Cut best;
  int found = 0;
  std::vector<uint64_t> known;
  std::vector<int64_t> often;
  for (const int64_t raw : raws) {
    const auto shift = static_cast<int>(raw) - heads.finest;
    known.clear();
    often.clear();
    for (size_t i = 0; i < heads.values.size(); ++i) {
      const uint64_t head = shift < 64 ? heads.values[i] >> shift : 0;
      if (known.empty() || known.back() != head) {
        known.push_back(head);
        often.push_back(0);
      }
      often.back() += heads.counts[i];
    }
    if (known.size() > 2 * static_cast<size_t>(kMaxSymbols) && raw < heads.width - 8) continue;
    const auto consider = [&](bool zero) {
      Cut cut = cut_heads(known, often, heads, static_cast<int>(raw), zero);
      if (cut.bits < 0) return;
      ++found;
      if (best.bits < 0 || cut.bits < best.bits) best = std::move(cut);
    };
    // No symbols take less than heads by their frequencies.
    const auto count = static_cast<int64_t>(often.size());
    if (!floats || best.bits < 0 || entropy_of(often.data(), 1, count, count) + raw * heads.total * kOne < best.bits)
      consider(false);
    if (heads.zeros > heads.total / 64 && raw > 0) {
      if (!known.empty() && known[0] == 0 && (often[0] -= heads.zeros) == 0) {
        known.erase(known.begin());
        often.erase(often.begin());
      }
      consider(true);
    }
    if (!floats && found >= 3) break;
  }
  return best;
}

}  // namespace tersely::ans
