// See block.hpp: symbols are coded backwards, by multiplication where a division by a frequency is meant.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/kernels/ans.hpp"
#include "tersely/storage/ans/block.hpp"

namespace tersely::ans {
namespace {

// A symbol of a table: state -> (state / frequency << 12) + state % frequency + begin. The quotient is exact for states
// below 2^32: state * ceil(2^(32 + shift) / frequency) >> 32 + shift with frequency <= 2^shift (Alverson, "Integer
// division using reciprocals", 1991).
struct Coded {
  uint64_t reciprocal;
  uint32_t most;         // states from here on give a word away first
  uint16_t begin, rest;  // rest: 2^12 - frequency
  int shift;
};

std::vector<Coded> coding_entries(const Description& d) {
  std::vector<Coded> out(static_cast<size_t>(d.tables) * kMaxSymbols);
  for (int table = 0; table < d.tables; ++table) {
    const std::vector<uint32_t> all = frequencies(d, table);
    uint32_t begin = 0;
    for (int symbol = 0; symbol < d.symbols(); ++symbol) {
      const uint32_t frequency = all[symbol];
      Coded& one = out[static_cast<size_t>(table) * kMaxSymbols + symbol];
      if (frequency > 0) {
        int shift = 0;
        while (frequency > 1u << shift) ++shift;
        const unsigned __int128 wide = (static_cast<unsigned __int128>(1) << (32 + shift)) + frequency - 1;
        one.reciprocal = static_cast<uint64_t>(wide / frequency);
        one.shift = 32 + shift;
      }
      one.most = frequency << (32 - kPrecision);
      one.begin = static_cast<uint16_t>(begin);
      one.rest = static_cast<uint16_t>((1 << kPrecision) - frequency);
      begin += frequency;
    }
  }
  return out;
}

struct Shared {
  const Description& d;
  WordType type;
  const std::vector<Coded>& coded;
  const TableWalk& walk;
  std::vector<uint8_t> by_head;  // the symbol of a head, where heads are few
};

template <class Word>
uint64_t load(const uint8_t* words, int64_t i) {
  Word word;
  std::memcpy(&word, words + i * sizeof(Word), sizeof(Word));
  return word;
}

uint64_t load(const uint8_t* words, int bytes, int64_t i) {
  return bytes == 1   ? words[i]
         : bytes == 2 ? load<uint16_t>(words, i)
         : bytes == 4 ? load<uint32_t>(words, i)
                      : load<uint64_t>(words, i);
}

uint8_t symbol_of(const Description& d, uint64_t head) {
  return static_cast<uint8_t>(std::upper_bound(d.starts.begin() + d.zero, d.starts.end(), head) - d.starts.begin() - 1);
}

void pack_group(const uint8_t* fields, int bits, uint8_t* out) {
  if (bits & 4)
    for (int i = 0; i < 32; ++i)
      *out++ = static_cast<uint8_t>((fields[i] >> (bits & 3) & 15) | (fields[32 + i] >> (bits & 3) & 15) << 4);
  if (bits & 2)
    for (int i = 0; i < 16; ++i) {
      uint8_t byte = 0;
      for (int part = 0; part < 4; ++part)
        byte |= static_cast<uint8_t>((fields[part * 16 + i] >> (bits & 1) & 3) << 2 * part);
      *out++ = byte;
    }
  if (bits & 1)
    for (int i = 0; i < 8; ++i) {
      uint8_t byte = 0;
      for (int part = 0; part < 8; ++part) byte |= static_cast<uint8_t>((fields[part * 8 + i] & 1) << part);
      *out++ = byte;
    }
}

// Whole bytes, then planes of what is above them.
void pack_raw(const std::vector<uint64_t>& values, int raw, std::vector<uint8_t>& out) {
  const int whole = raw / 8, bits = raw % 8;
  const size_t low = out.size(), groups = (values.size() + kGroup - 1) / kGroup;
  out.resize(low + values.size() * whole + groups * 8 * bits);
  uint8_t* at = out.data() + low;
  for (const uint64_t value : values) {
    for (int byte = 0; byte < whole; ++byte) at[byte] = static_cast<uint8_t>(value >> 8 * byte);
    at += whole;
  }
  for (size_t group = 0; bits > 0 && group < groups; ++group, at += 8 * bits) {
    uint8_t fields[kGroup] = {};
    for (size_t i = 0; i < kGroup && group * kGroup + i < values.size(); ++i)
      fields[i] = static_cast<uint8_t>(values[group * kGroup + i] >> 8 * whole & ((1u << bits) - 1));
    pack_group(fields, bits, at);
  }
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

// States and words, as they lie in the block.
int64_t code_symbols(const Shared& s, const std::vector<uint8_t>& symbols, const std::vector<uint8_t>& tables,
                     std::vector<uint8_t>& out) {
  const int lanes = s.d.lanes;
  uint32_t states[kAnsLanes];
  std::fill(states, states + lanes, kAnsLowest);
  // From the end to the front: at most a word a symbol, and one that is written before it is known not to count.
  std::vector<uint16_t> words(symbols.size() + 1);
  uint16_t* at = words.data() + words.size();
  for (int64_t i = static_cast<int64_t>(symbols.size()) - 1; i >= 0; --i) {
    uint32_t& state = states[i & (lanes - 1)];
    const Coded& one = s.coded[static_cast<size_t>(tables[i]) * kMaxSymbols + symbols[i]];
    const bool full = state >= one.most;
    at[-1] = static_cast<uint16_t>(state);
    at -= full;
    const uint32_t rest = full ? state >> 16 : state;
    const auto quotient = static_cast<uint32_t>(static_cast<unsigned __int128>(rest) * one.reciprocal >> one.shift);
    state = rest + one.begin + quotient * one.rest;
  }
  const int64_t count = words.data() + words.size() - at;
  const size_t old = out.size();
  out.resize(old + 4 * static_cast<size_t>(lanes) + 2 * static_cast<size_t>(count));
  std::memcpy(out.data() + old, states, 4 * static_cast<size_t>(lanes));
  std::memcpy(out.data() + old + 4 * lanes, at, 2 * static_cast<size_t>(count));
  return count;
}

std::vector<uint8_t> encode_stream(const Shared& s, const uint8_t* words, int64_t first, int64_t count,
                                   Stream& stream) {
  const Description& d = s.d;
  std::vector<uint8_t> symbols(count), tables(count), out;
  std::vector<uint64_t> kept;
  kept.reserve(d.raw > 0 ? count : 0);
  BitWriter extra;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t value = value_of(load(words, s.type.bytes, first + i), d.trim, s.type);
    if (!d.palette.empty()) value = std::lower_bound(d.palette.begin(), d.palette.end(), value) - d.palette.begin();
    if (d.zero && value == 0) {
      symbols[i] = 0;
      continue;
    }
    const uint64_t head = d.raw < 64 ? value >> d.raw : 0;
    const uint8_t symbol = head < s.by_head.size() ? s.by_head[head] : symbol_of(d, head);
    symbols[i] = symbol;
    ++stream.kept;
    if (d.raw > 0) kept.push_back(value);
    if (d.extras[symbol] > 0) extra.put(head - d.starts[symbol], d.extras[symbol]);
  }
  if (d.several()) {
    s.walk.tables(first, count, tables.data());
    stream.words = code_symbols(s, symbols, tables, out);
  }
  if (d.raw > 0) pack_raw(kept, d.raw, out);
  const std::vector<uint8_t> bits = extra.finish();
  stream.extra = static_cast<int64_t>(bits.size());
  out.insert(out.end(), bits.begin(), bits.end());
  return out;
}

}  // namespace

std::vector<uint8_t> encode(const uint8_t* words, int64_t count, WordType type, Description& d, int threads) {
  const std::vector<Coded> coded = d.several() ? coding_entries(d) : std::vector<Coded>();
  const TableWalk walk(d);
  Shared s{d, type, coded, walk, {}};
  constexpr uint64_t kFewHeads = 1 << 12;
  const uint64_t heads = std::min(d.starts.back() + (uint64_t{1} << d.extras.back()), kFewHeads);
  for (uint64_t head = 0; head < heads; ++head)
    s.by_head.push_back(head < d.starts[std::min<size_t>(d.zero, d.starts.size() - 1)] ? 0 : symbol_of(d, head));
  const int64_t streams = (count + kStreamSymbols - 1) / kStreamSymbols;
  d.streams.assign(streams, {});
  std::vector<std::vector<uint8_t>> parts(streams);
  parallel_for(threads, streams, [&](int64_t number) {
    const int64_t first = number * kStreamSymbols;
    parts[number] = encode_stream(s, words, first, std::min(count - first, kStreamSymbols), d.streams[number]);
  });
  Writer writer;
  describe(writer, d, count, type.bits());
  const std::vector<uint8_t> side = writer.finish();
  size_t size = 4 + side.size();
  for (const auto& part : parts) size += part.size();
  std::vector<uint8_t> out;
  out.reserve(size);
  for (int byte = 0; byte < 4; ++byte) out.push_back(static_cast<uint8_t>(side.size() >> 8 * byte));
  out.insert(out.end(), side.begin(), side.end());
  for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

}  // namespace tersely::ans
