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
std::vector<uint32_t> coding_entries(const Description& d) {
  std::vector<uint32_t> out(static_cast<size_t>(d.tables) * kMaxSymbols);
  for (int table = 0; table < d.tables; ++table) {
    uint32_t begin = 0;
    uint32_t* entry = out.data() + static_cast<size_t>(table) * kMaxSymbols;
    for (const uint32_t frequency : frequencies(d, table)) {
      *entry++ = frequency | begin << 16;
      begin += frequency;
    }
  }
  return out;
}

struct Shared {
  const Description& d;
  WordType type;
  const std::vector<uint32_t>& coded;
  const TableWalk& walk;
};

uint64_t load(const uint8_t* words, int bytes, int64_t i) {
  uint64_t word = 0;
  std::memcpy(&word, words + i * bytes, static_cast<size_t>(bytes));  // little-endian, as the core is
  return word;
}

int64_t raw_size(const Description& d, int64_t kept) {
  return kept * (d.raw / 8) + (kept + kGroup - 1) / kGroup * 8 * (d.raw % 8);
}

// Raw bits of `kept` words: whole bytes, then planes of what is above them.
template <class Word>
void put_raw(const Shared& s, const uint8_t* words, const uint8_t* symbols, int64_t count, int64_t kept, uint8_t* low) {
  constexpr int64_t kPart = 4096;
  const bool by_palette = !s.d.palette.empty();
  const AnsWords as{nullptr, nullptr, s.d.raw, by_palette ? 0 : s.d.trim, !by_palette && s.type.rotated, s.d.zero};
  const auto pack = active_table().ans.pack[s.type.index()];
  uint8_t* planes = low + kept * (s.d.raw / 8);
  // What is left of a group comes first in the next part.
  Word some[kPart + kGroup];
  int64_t have = 0;
  const auto flush = [&](const Word* from, int64_t groups) {
    pack(as, from, groups, low, planes);
    low += groups * kGroup * (s.d.raw / 8);
    planes += groups * 8 * (s.d.raw % 8);
  };
  for (int64_t first = 0; first < count; first += kPart) {
    const int64_t part = std::min(count - first, kPart);
    Word* const next = some + have;
    // A tensor may begin at any byte of a file.
    std::memcpy(next, words + first * static_cast<int64_t>(sizeof(Word)), static_cast<size_t>(part) * sizeof(Word));
    if (by_palette)
      for (int64_t i = 0; i < part; ++i) {
        const uint64_t value = value_of(next[i], s.d.trim, s.type);
        next[i] =
            static_cast<Word>(std::lower_bound(s.d.palette.begin(), s.d.palette.end(), value) - s.d.palette.begin());
      }
    if (s.d.zero) {
      int64_t end = 0;
      for (int64_t i = 0; i < part; ++i) {
        next[end] = next[i];
        end += symbols[first + i] != 0;
      }
      have += end;
    } else {
      have += part;
    }
    const int64_t groups = have / kGroup;
    flush(some, groups);
    have -= groups * kGroup;
    std::memmove(some, some + groups * kGroup, static_cast<size_t>(have) * sizeof(Word));
  }
  if (have == 0) return;
  std::memset(some + have, 0, static_cast<size_t>(kGroup - have) * sizeof(Word));
  uint8_t last[kGroup * 8];
  pack(as, some, 1, last, planes);
  std::memcpy(low, last, static_cast<size_t>(have * (s.d.raw / 8)));
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

// States, then words, up to `end`; returns where they begin.
uint8_t* code_symbols(const Shared& s, const uint8_t* symbols, int64_t first, int64_t count, uint8_t* end) {
  const int lanes = s.d.lanes;
  uint32_t states[kAnsMaxLanes];
  std::fill(states, states + lanes, kAnsLowest);
  constexpr int64_t kPart = 4096;
  uint8_t tables[kPart];
  uint16_t words[kPart + 16];
  for (int64_t part = (count - 1) / kPart * kPart; part >= 0; part -= kPart) {
    int64_t some = std::min(count - part, kPart);
    s.walk.tables(first + part, some, tables);
    uint16_t* at = words + kPart + 16;
    const int64_t steps = lanes < kAnsLanes[0] ? 0 : some / lanes;
    while (some-- > steps * lanes)
      code_symbol(s.coded[static_cast<size_t>(tables[some]) << 8 | symbols[part + some]], states[some % lanes], at);
    if (steps > 0) {
      const auto kernel = active_table().ans.encode[lanes == kAnsLanes[1]];
      at = kernel(s.coded.data(), tables, symbols + part, steps, states, at);
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
  // At most a word a symbol.
  const int64_t most = d.several() ? 4 * d.lanes + 2 * count : 0, raw = raw_size(d, stream.kept);
  EncodedStream part;
  part.buffer = std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(most + raw + stream.extra));
  part.begin = part.end = part.buffer.get() + most;
  if (d.several()) {
    part.begin = code_symbols(s, symbols, first, count, part.end);
    stream.words = (part.end - part.begin) / 2 - 2 * d.lanes;
  }
  if (d.raw > 0) {
    const auto put = s.type.bytes == 1   ? &put_raw<uint8_t>
                     : s.type.bytes == 2 ? &put_raw<uint16_t>
                     : s.type.bytes == 4 ? &put_raw<uint32_t>
                                         : &put_raw<uint64_t>;
    put(s, words, symbols, count, stream.kept, part.end);
    part.end += raw;
  }
  part.end = std::copy(extra.begin(), extra.end(), part.end);
  return part;
}

}  // namespace

EncodedBlock encode(const uint8_t* words, const uint8_t* symbols, int64_t count, WordType type, Description& d,
                    int threads) {
  const std::vector<uint32_t> coded = d.several() ? coding_entries(d) : std::vector<uint32_t>();
  const TableWalk walk(d);
  const Shared s{d, type, coded, walk};
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
