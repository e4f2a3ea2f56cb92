// See block.hpp: symbols are coded backwards, by multiplication where a division by a frequency is meant.
#include <algorithm>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/kernels/ans.hpp"
#include "tersely/storage/ans/block.hpp"

namespace tersely::ans {
namespace {

// A symbol of a table: state -> (state / frequency << 12) + state % frequency + begin, which is
// state + quotient * rest + begin. The quotient is exact for states below 2^32: the upper half of state * ceil(2^64 /
// frequency) (Alverson, "Integer division using reciprocals", 1991). Of frequency 1 it is state - 1: begin makes up.
struct Coded {
  uint64_t reciprocal;
  uint32_t full;         // states from here on give a word away first
  uint16_t begin, rest;  // rest: 2^12 - frequency
};

// Of each table, for all symbols that there could be.
std::vector<Coded> coding_entries(const std::vector<uint8_t>& logs, int symbols, int steps) {
  const size_t tables = logs.size() / static_cast<size_t>(symbols);
  std::vector<Coded> out(tables * kMaxSymbols);
  for (size_t table = 0; table < tables; ++table) {
    const std::vector<uint32_t> all = frequencies(logs.data() + table * static_cast<size_t>(symbols), symbols, steps);
    uint32_t begin = 0;
    for (int symbol = 0; symbol < symbols; ++symbol) {
      const uint32_t frequency = all[symbol];
      if (frequency == 0) continue;
      Coded& one = out[table * kMaxSymbols + static_cast<size_t>(symbol)];
      one.reciprocal = frequency == 1 ? ~uint64_t{0} : ~uint64_t{0} / frequency + 1;
      one.full = frequency << (32 - kPrecision);
      one.rest = static_cast<uint16_t>((1 << kPrecision) - frequency);
      one.begin = static_cast<uint16_t>(frequency == 1 ? begin + one.rest : begin);
      begin += frequency;
    }
  }
  return out;
}

struct Shared {
  const Description& d;
  WordType type;
  const std::vector<Coded>&coded, &coded_low;
  const TableWalk& walk;
};

uint64_t load(const uint8_t* words, int bytes, int64_t i) {
  uint64_t word = 0;
  std::memcpy(&word, words + i * bytes, static_cast<size_t>(bytes));  // little-endian, as the core is
  return word;
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

template <class Word, int Whole, int Bits>
void pack(const Word* values, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i, out += Whole) std::memcpy(out, values + i, Whole);
  if constexpr (Bits > 0 && Whole < static_cast<int>(sizeof(Word)))
    for (int64_t first = 0; first < count; first += kGroup, out += 8 * Bits) {
      uint8_t fields[kGroup] = {};
      const int64_t some = std::min(count - first, kGroup);
      for (int64_t i = 0; i < some; ++i)
        fields[i] = static_cast<uint8_t>(values[first + i] >> 8 * Whole & ((1u << Bits) - 1));
      pack_group(fields, Bits, out);
    }
}

template <class Word, int Whole = 0, int Bits = 0>
void pack_as(int raw, const Word* values, int64_t count, uint8_t* out) {
  if constexpr (Bits == 8) {
    if constexpr (Whole < static_cast<int>(sizeof(Word))) pack_as<Word, Whole + 1, 0>(raw, values, count, out);
  } else if (raw == 8 * Whole + Bits) {
    pack<Word, Whole, Bits>(values, count, out);
  } else {
    pack_as<Word, Whole, Bits + 1>(raw, values, count, out);
  }
}

// Values of words that have raw bits, cut to the word's width.
template <class Word, bool Rotated>
void gather_values(const Shared& s, const Word* words, const uint8_t* symbols, int64_t count, std::vector<Word>& out) {
  constexpr int kTop = 8 * sizeof(Word) - 1;
  const int trim = s.d.trim;
  const auto cut = [trim](Word word) {
    if constexpr (!Rotated) return static_cast<Word>(word >> trim);
    const auto magnitude = static_cast<Word>(static_cast<Word>(word << 1) >> 1);
    return static_cast<Word>(static_cast<Word>(magnitude >> trim) << 1 | word >> kTop);
  };
  out.resize(static_cast<size_t>(count));
  if (!s.d.zero) {
    for (int64_t i = 0; i < count; ++i) out[i] = cut(words[i]);
    return;
  }
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    out[kept] = cut(words[i]);
    kept += symbols[i] != 0;
  }
  out.resize(static_cast<size_t>(kept));
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

// States and words, as they lie in the block; returns how many words. find_tables(first, count, tables) says by which
// tables `count` symbols from number `first` on are coded.
template <class FindTables>
int64_t code_symbols(const std::vector<Coded>& entries, int lanes, const uint8_t* symbols, int64_t count,
                     const FindTables& find_tables, std::vector<uint8_t>& out) {
  uint32_t states[kAnsMaxLanes];
  std::fill(states, states + lanes, kAnsLowest);
  // From the end to the front: at most a word a symbol, and one that is written before it is known not to count.
  std::vector<uint16_t> words(static_cast<size_t>(count) + 1);
  uint16_t* at = words.data() + words.size();
  constexpr int64_t kPart = 4096;
  uint8_t tables[kPart];
  for (int64_t part = (count - 1) / kPart * kPart; part >= 0; part -= kPart) {
    const int64_t some = std::min(count - part, kPart);
    find_tables(part, some, tables);
    for (int64_t i = some - 1; i >= 0; --i) {
      uint32_t& state = states[i & (lanes - 1)];
      const Coded& one = entries[static_cast<size_t>(tables[i]) * kMaxSymbols + symbols[part + i]];
      const bool full = state >= one.full;
      at[-1] = static_cast<uint16_t>(state);
      at -= full;
      const uint32_t rest = full ? state >> 16 : state;
      const auto quotient = static_cast<uint32_t>(static_cast<unsigned __int128>(rest) * one.reciprocal >> 64);
      state = rest + one.begin + quotient * one.rest;
    }
  }
  const int64_t coded = words.data() + words.size() - at;
  const size_t old = out.size();
  out.resize(old + static_cast<size_t>(4 * lanes + 2 * coded));
  std::memcpy(out.data() + old, states, static_cast<size_t>(4 * lanes));
  std::memcpy(out.data() + old + 4 * lanes, at, static_cast<size_t>(2 * coded));
  return coded;
}

// Raw bits: the lowest as symbols, where they are; whole bytes, then planes of what is above them.
template <class Word>
void add_raw(const Shared& s, const uint8_t* words, const uint8_t* symbols, int64_t count, Stream& stream,
             std::vector<uint8_t>& out) {
  std::vector<Word> values;
  if (!s.d.palette.empty()) {
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t value = value_of(load(words, sizeof(Word), i), s.d.trim, s.type);
      const auto number = std::lower_bound(s.d.palette.begin(), s.d.palette.end(), value) - s.d.palette.begin();
      if (!s.d.zero || symbols[i] != 0) values.push_back(static_cast<Word>(number));
    }
  } else {
    // A tensor may begin at any byte of a file.
    std::vector<Word> aligned(static_cast<size_t>(count));
    std::memcpy(aligned.data(), words, static_cast<size_t>(count) * sizeof(Word));
    if (s.type.rotated)
      gather_values<Word, true>(s, aligned.data(), symbols, count, values);
    else
      gather_values<Word, false>(s, aligned.data(), symbols, count, values);
  }
  const auto kept = static_cast<int64_t>(values.size());
  if (s.d.low > 0) {
    std::vector<uint8_t> low(values.size());
    for (int64_t i = 0; i < kept; ++i) {
      low[i] = static_cast<uint8_t>(values[i] & ((1u << s.d.low) - 1));
      values[i] = static_cast<Word>(values[i] >> s.d.low);
    }
    stream.low = code_symbols(
        s.coded_low, s.d.lanes, low.data(), kept,
        [](int64_t, int64_t some, uint8_t* tables) { std::memset(tables, 0, static_cast<size_t>(some)); }, out);
  }
  const int raw = s.d.raw - s.d.low;
  const size_t old = out.size();
  out.resize(old + static_cast<size_t>(kept * (raw / 8) + (kept + kGroup - 1) / kGroup * 8 * (raw % 8)));
  pack_as<Word>(raw, values.data(), kept, out.data() + old);
}

std::vector<uint8_t> encode_stream(const Shared& s, const uint8_t* words, const uint8_t* symbols, int64_t first,
                                   int64_t count, Stream& stream) {
  const Description& d = s.d;
  words += first * s.type.bytes;
  symbols += first;
  std::vector<uint8_t> out;
  out.reserve(static_cast<size_t>(count * (s.type.bytes + 1)));
  if (d.several())
    stream.words = code_symbols(
        s.coded, d.lanes, symbols, count,
        [&](int64_t at, int64_t some, uint8_t* tables) { s.walk.tables(first + at, some, tables); }, out);
  stream.kept = d.zero ? count - std::count(symbols, symbols + count, 0) : count;
  if (d.raw > 0) {
    if (s.type.bytes == 1)
      add_raw<uint8_t>(s, words, symbols, count, stream, out);
    else if (s.type.bytes == 2)
      add_raw<uint16_t>(s, words, symbols, count, stream, out);
    else if (s.type.bytes == 4)
      add_raw<uint32_t>(s, words, symbols, count, stream, out);
    else
      add_raw<uint64_t>(s, words, symbols, count, stream, out);
  }
  if (!d.wide()) return out;
  BitWriter extra;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t symbol = symbols[i];
    if (d.extras[symbol] == 0) continue;
    uint64_t value = value_of(load(words, s.type.bytes, i), d.trim, s.type);
    if (!d.palette.empty())
      value = static_cast<uint64_t>(std::lower_bound(d.palette.begin(), d.palette.end(), value) - d.palette.begin());
    extra.put((value >> d.raw) - d.starts[symbol], d.extras[symbol]);
  }
  const std::vector<uint8_t> bits = extra.finish();
  stream.extra = static_cast<int64_t>(bits.size());
  out.insert(out.end(), bits.begin(), bits.end());
  return out;
}

}  // namespace

std::vector<uint8_t> encode(const uint8_t* words, const uint8_t* symbols, int64_t count, WordType type, Description& d,
                            int threads) {
  const std::vector<Coded> coded = d.several() ? coding_entries(d.logs, d.symbols(), d.steps) : std::vector<Coded>();
  const std::vector<Coded> coded_low =
      d.low > 0 ? coding_entries(d.low_logs, 1 << d.low, kFinest) : std::vector<Coded>();
  const TableWalk walk(d);
  const Shared s{d, type, coded, coded_low, walk};
  const int64_t streams = (count + kStreamSymbols - 1) / kStreamSymbols;
  d.streams.assign(streams, {});
  std::vector<std::vector<uint8_t>> parts(streams);
  parallel_for(threads, streams, [&](int64_t number) {
    const int64_t first = number * kStreamSymbols;
    parts[number] = encode_stream(s, words, symbols, first, std::min(count - first, kStreamSymbols), d.streams[number]);
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
