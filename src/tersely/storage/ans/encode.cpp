// See block.hpp: symbols are coded backwards, a few thousand at a time.
#include <algorithm>
#include <cstring>
#include <memory>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/storage/ans/block.hpp"

namespace tersely::ans {
namespace {

// frequency | begin << 16 of [tables][256] symbols.
std::vector<uint32_t> coding_entries(const std::vector<uint8_t>& logs, int symbols, int steps) {
  const size_t tables = logs.size() / static_cast<size_t>(symbols);
  std::vector<uint32_t> out(tables * kMaxSymbols);
  for (size_t table = 0; table < tables; ++table) {
    uint32_t begin = 0;
    uint32_t* entry = out.data() + table * kMaxSymbols;
    for (const uint32_t frequency : frequencies(logs.data() + table * static_cast<size_t>(symbols), symbols, steps)) {
      *entry++ = frequency | begin << 16;
      begin += frequency;
    }
  }
  return out;
}

struct Shared {
  const Description& d;
  WordType type;
  const std::vector<uint32_t>&coded, &coded_low;
  const TableWalk& walk;
};

uint64_t load(const uint8_t* words, int bytes, int64_t i) {
  uint64_t word = 0;
  std::memcpy(&word, words + i * bytes, static_cast<size_t>(bytes));  // little-endian, as the core is
  return word;
}

// Words of a stream that have raw bits, one part after another; aligned, as a tensor in a file need not be, and numbers
// where there is a palette.
template <class Word>
class Kept {
 public:
  Kept(const Shared& s, const uint8_t* words, const uint8_t* symbols) : s_(s), words_(words), symbols_(symbols) {}

  // Those among words [first, first + count), to `out`; returns how many.
  int64_t copy(int64_t first, int64_t count, Word* out) const {
    std::memcpy(out, words_ + first * static_cast<int64_t>(sizeof(Word)), static_cast<size_t>(count) * sizeof(Word));
    if (!s_.d.palette.empty())
      for (int64_t i = 0; i < count; ++i) {
        const auto& all = s_.d.palette;
        const uint64_t value = value_of(out[i], s_.d.trim, s_.type);
        out[i] = static_cast<Word>(std::lower_bound(all.begin(), all.end(), value) - all.begin());
      }
    if (!s_.d.zero) return count;
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      out[kept] = out[i];
      kept += symbols_[first + i] != 0;
    }
    return kept;
  }

 private:
  const Shared& s_;
  const uint8_t *words_, *symbols_;
};

int64_t raw_size(const Description& d, int64_t kept) {
  const int raw = d.raw - d.low;
  return kept * (raw / 8) + (kept + kGroup - 1) / kGroup * 8 * (raw % 8);
}

// Raw bits of `kept` words of `count`: whole bytes, then planes of what is above them; the lowest ones to `lowest`
// instead, where they are coded.
template <class Word>
void put_raw(const Shared& s, const uint8_t* words, const uint8_t* symbols, int64_t count, int64_t kept, uint8_t* whole,
             uint8_t* lowest) {
  constexpr int64_t kPart = 4096;
  const bool by_palette = !s.d.palette.empty();
  const int low = s.d.low, raw = s.d.raw - low;
  const AnsWords as{nullptr, nullptr, raw, by_palette ? 0 : s.d.trim, !by_palette && s.type.rotated, s.d.zero};
  const AnsWords above{nullptr, nullptr, raw, as.trim + low - as.rotated, false, s.d.zero};
  const auto pack = active_table().ans.pack[s.type.index()];
  const Kept<Word> source(s, words, symbols);
  uint8_t* planes = whole + kept * (raw / 8);
  // What is left of a group comes first in the next part.
  Word some[kPart + kGroup];
  int64_t have = 0;
  for (int64_t first = 0; first < count; first += kPart) {
    const int64_t added = source.copy(first, std::min(count - first, kPart), some + have);
    if (low > 0) {
      // Of a value, which is cut to this width elsewhere.
      const auto mask = static_cast<uint8_t>((1u << low) - 1);
      for (int64_t i = 0; i < added; ++i) {
        const Word word = some[have + i];
        const Word value = as.rotated ? static_cast<Word>(word >> as.trim << 1 | word >> (8 * sizeof(Word) - 1))
                                      : static_cast<Word>(word >> as.trim);
        lowest[i] = static_cast<uint8_t>(value & mask);
      }
      lowest += added;
    }
    have += added;
    const int64_t groups = have / kGroup;
    if (raw > 0) pack(low > 0 ? above : as, some, groups, whole, planes);
    whole += groups * kGroup * (raw / 8);
    planes += groups * 8 * (raw % 8);
    have -= groups * kGroup;
    std::memmove(some, some + groups * kGroup, static_cast<size_t>(have) * sizeof(Word));
  }
  if (have == 0 || raw == 0) return;
  std::memset(some + have, 0, static_cast<size_t>(kGroup - have) * sizeof(Word));
  uint8_t last[kGroup * 8];
  pack(low > 0 ? above : as, some, 1, last, planes);
  std::memcpy(whole, last, static_cast<size_t>(have * (raw / 8)));
}

class BitWriter {
 public:
  void put(uint64_t bits, int count) {
    held_ |= bits << count_;
    for (count_ += count; count_ >= 8; count_ -= 8, held_ >>= 8) bytes_.push_back(static_cast<uint8_t>(held_));
  }
  std::vector<uint8_t> finish() {
    if (count_ > 0) bytes_.push_back(static_cast<uint8_t>(held_));
    return std::move(bytes_);
  }

 private:
  std::vector<uint8_t> bytes_;
  uint64_t held_ = 0;
  int count_ = 0;
};

void code_symbol(uint32_t coded, uint32_t& state, uint16_t*& at) {
  const uint32_t frequency = coded & 0xFFFF;
  if (state >= frequency << (32 - kPrecision)) {
    *--at = static_cast<uint16_t>(state);
    state >>= 16;
  }
  state = (state / frequency << kPrecision) + state % frequency + (coded >> 16);
}

// States, then words, up to `end`; returns where they begin. find_tables(first, count, tables) says by which tables
// `count` symbols from number `first` on are coded.
template <class FindTables>
uint8_t* code_symbols(const std::vector<uint32_t>& entries, int lanes, const uint8_t* symbols, int64_t count,
                      const FindTables& find_tables, uint8_t* end) {
  uint32_t states[kAnsMaxLanes];
  std::fill(states, states + lanes, kAnsLowest);
  constexpr int64_t kPart = 4096;
  uint8_t tables[kPart];
  uint16_t words[kPart + 16];
  for (int64_t part = (count - 1) / kPart * kPart; part >= 0; part -= kPart) {
    int64_t some = std::min(count - part, kPart);
    find_tables(part, some, tables);
    uint16_t* at = words + kPart + 16;
    const int64_t steps = lanes < kAnsLanes[0] ? 0 : some / lanes;
    while (some-- > steps * lanes)
      code_symbol(entries[static_cast<size_t>(tables[some]) << 8 | symbols[part + some]], states[some % lanes], at);
    if (steps > 0) {
      const auto kernel = active_table().ans.encode[lanes == kAnsLanes[1]];
      at = kernel(entries.data(), tables, symbols + part, steps, states, at);
    }
    const auto bytes = static_cast<size_t>(2 * (words + kPart + 16 - at));
    end -= bytes;
    std::memcpy(end, at, bytes);
  }
  end -= 4 * lanes;
  std::memcpy(end, states, static_cast<size_t>(4 * lanes));
  return end;
}

std::vector<uint8_t> extra_bits(const Shared& s, const uint8_t* words, const uint8_t* symbols, int64_t count) {
  const Description& d = s.d;
  AnsSet wide;
  for (int i = 0; i < d.symbols(); ++i)
    if (d.extras[i] > 0) wide.add(static_cast<uint8_t>(i));
  BitWriter extra;
  constexpr int64_t kPart = 4096;
  uint16_t places[kPart];
  for (int64_t first = 0; first < count; first += kPart) {
    const int64_t found = active_table().ans.places(wide, symbols + first, std::min(count - first, kPart), places);
    for (int64_t k = 0; k < found; ++k) {
      const int64_t i = first + places[k];
      uint64_t value = value_of(load(words, s.type.bytes, i), d.trim, s.type);
      if (!d.palette.empty())
        value = static_cast<uint64_t>(std::lower_bound(d.palette.begin(), d.palette.end(), value) - d.palette.begin());
      extra.put((value >> d.raw) - d.starts[symbols[i]], d.extras[symbols[i]]);
    }
  }
  return extra.finish();
}

EncodedStream encode_stream(const Shared& s, const uint8_t* words, const uint8_t* symbols, int64_t first, int64_t count,
                            Stream& stream) {
  const Description& d = s.d;
  words += first * s.type.bytes;
  symbols += first;
  stream.kept = d.zero ? count - std::count(symbols, symbols + count, 0) : count;
  std::vector<uint8_t> extra;
  if (d.wide()) extra = extra_bits(s, words, symbols, count);
  stream.extra = static_cast<int64_t>(extra.size());
  // What is behind coded symbols is made first: of symbols at most a word each comes before it, from the last to the
  // first.
  const int64_t raw = raw_size(d, stream.kept), behind = raw + stream.extra;
  const int64_t most = 2 * (4 * d.lanes) + 2 * count + (d.low > 0 ? 2 * stream.kept : 0);
  EncodedStream part;
  part.buffer = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(most + behind));
  part.begin = part.buffer.get() + most;
  part.end = part.begin + behind;
  std::copy(extra.begin(), extra.end(), part.begin + raw);
  std::vector<uint8_t> lowest(static_cast<size_t>(d.low > 0 ? stream.kept : 0));
  if (d.raw > 0) {
    const auto put = s.type.bytes == 1   ? &put_raw<uint8_t>
                     : s.type.bytes == 2 ? &put_raw<uint16_t>
                     : s.type.bytes == 4 ? &put_raw<uint32_t>
                                         : &put_raw<uint64_t>;
    put(s, words, symbols, count, stream.kept, part.begin, lowest.data());
  }
  const auto words_before = [&](const uint8_t* end) { return (end - part.begin) / 2 - 2 * d.lanes; };
  if (d.low > 0) {
    const uint8_t* end = part.begin;
    const auto one_table = [](int64_t, int64_t some, uint8_t* tables) {
      std::memset(tables, 0, static_cast<size_t>(some));
    };
    part.begin = code_symbols(s.coded_low, d.lanes, lowest.data(), stream.kept, one_table, part.begin);
    stream.low = words_before(end);
  }
  if (d.several()) {
    const uint8_t* end = part.begin;
    const auto walk = [&](int64_t at, int64_t some, uint8_t* tables) { s.walk.tables(first + at, some, tables); };
    part.begin = code_symbols(s.coded, d.lanes, symbols, count, walk, part.begin);
    stream.words = words_before(end);
  }
  return part;
}

}  // namespace

EncodedBlock encode(const uint8_t* words, const uint8_t* symbols, int64_t count, WordType type, Description& d,
                    int threads) {
  const auto no = std::vector<uint32_t>();
  const std::vector<uint32_t> coded = d.several() ? coding_entries(d.logs, d.symbols(), d.steps) : no;
  const std::vector<uint32_t> coded_low = d.low > 0 ? coding_entries(d.low_logs, 1 << d.low, kFinest) : no;
  const TableWalk walk(d);
  const Shared s{d, type, coded, coded_low, walk};
  const int64_t streams = (count + kStreamSymbols - 1) / kStreamSymbols;
  d.streams.assign(streams, {});
  EncodedBlock out;
  out.streams.resize(streams);
  parallel_for(threads, streams, [&](int64_t number) {
    const int64_t first = number * kStreamSymbols;
    out.streams[number] =
        encode_stream(s, words, symbols, first, std::min(count - first, kStreamSymbols), d.streams[number]);
  });
  Writer writer;
  describe(writer, d, count, type.bits());
  out.description = writer.finish();
  return out;
}

size_t EncodedBlock::size() const {
  size_t size = 4 + description.size();
  for (const EncodedStream& stream : streams) size += static_cast<size_t>(stream.end - stream.begin);
  return size;
}

void EncodedBlock::write(uint8_t* out) const {
  for (int byte = 0; byte < 4; ++byte) *out++ = static_cast<uint8_t>(description.size() >> 8 * byte);
  out = std::copy(description.begin(), description.end(), out);
  for (const EncodedStream& stream : streams) out = std::copy(stream.begin, stream.end, out);
}

}  // namespace tersely::ans
