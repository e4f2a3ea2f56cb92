// See block.hpp: streams are decoded by workers, a few thousand words at a time, from symbols to words in cache.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/storage/ans/block.hpp"
#include "tersely/storage/ans/components.hpp"

namespace tersely::ans {
namespace {

constexpr int64_t kAhead = 512;  // symbols decoded while their raw bits are on their way to the cache
constexpr int64_t kPart = 4096;  // symbols decoded before their words are made: all of it stays in the first cache

// What all streams of a block share.
struct Shared {
  Description d;
  WordType type;
  std::vector<uint32_t> entries, low_entries;
  std::vector<uint64_t> by_symbol;  // as words of the type, or values where `by_value`
  std::vector<uint8_t> by_byte;     // the same as kernels look it up
  AnsSet corrected;  // symbols of which by_symbol does not say the word: they have extra bits, or are beside the line
  bool corrections = false;
  int line = -1;                 // as AnsWords
  std::vector<uint64_t> by_low;  // what lowest bits say of a word, as `by_symbol`
  bool by_value;
  const TableWalk* walk;
};

struct Pieces {
  const uint8_t *states, *words, *low_states, *low_words, *whole, *planes, *extra, *end;
};

// The raw bits above the lowest, as those of words that have no others: the sign is one of the lowest.
AnsWords above_lowest(AnsWords words, int low) {
  if (low == 0) return words;
  words.low_trim = words.trim, words.low_rotated = words.rotated;
  words.raw -= low;
  words.trim = words.raw > 0 ? words.trim + low - words.rotated : 0;
  words.rotated = false;
  return words;
}

// Lowest bits where they are coded.
class Lowest {
 public:
  Lowest(const Shared& shared, int index, const Pieces& pieces, const Stream& stream)
      : words_{shared.by_low.data(), nullptr, 1, 0, false, false},
        coded_(shared.low_entries, shared.d.lanes, pieces.low_states, pieces.low_words, stream.low),
        combine_(active_table().ans.combine[index]),
        some_(shared.d.low > 0) {}

  // Decodes those of `count` words, a multiple of the lanes but for the last call. Returns whether there were as many.
  bool decode(int64_t count) { return !some_ || coded_.decode(kTable, count, symbols_); }
  // What was decoded last, readable to the end of a group; null where there are no lowest bits.
  const uint8_t* symbols() const { return some_ ? symbols_ : nullptr; }
  // The same, and puts them into words.
  bool add(int64_t count, uint8_t* words) {
    if (!decode(count)) return false;
    if (some_) combine_(words_, symbols_, count, words, words);
    return true;
  }
  bool ended() const { return !some_ || coded_.ended(); }

 private:
  static constexpr uint8_t kTable[kPart + kGroup] = {};
  AnsWords words_;
  Symbols coded_;
  int64_t (*combine_)(const AnsWords&, const uint8_t*, int64_t, const void*, void*);
  bool some_;
  uint8_t symbols_[kPart + kGroup] = {};
};

// Raw bits as words, unpacked some groups ahead; lowest bits that are coded are put below them.
class Raw {
 public:
  Raw(const Shared& shared, const AnsWords& words, int index, const Pieces& pieces, const Stream& stream)
      : words_(above_lowest(words, shared.d.low)),
        lowest_(shared, index, pieces, stream),
        unpack_(active_table().ans.unpack[index]),
        bytes_(int64_t{1} << index),
        low_(pieces.whole),
        planes_(pieces.planes),
        kept_(stream.kept) {}

  // Words [at least `count`], as many as there are; the first is the next. Null: lowest bits end too early.
  const uint8_t* words(int64_t count) {
    if (have_ < count && kept_ > 0) {
      std::memmove(memory_, memory_ + first_ * bytes_, static_cast<size_t>(have_ * bytes_));
      first_ = 0;
      const int64_t groups = std::min((count - have_ + kGroup - 1) / kGroup, kept_ / kGroup);
      if (!unpack(low_, groups, groups * kGroup)) return nullptr;
      low_ += groups * kGroup * (words_.raw / 8);
      planes_ += groups * 8 * (words_.raw % 8);
      kept_ -= groups * kGroup;
      if (have_ < count && kept_ > 0) {  // the last group is not whole
        uint8_t last[kGroup * 8] = {};
        std::memcpy(last, low_, static_cast<size_t>(kept_ * (words_.raw / 8)));
        if (!unpack(last, 1, kept_)) return nullptr;
        kept_ = 0;
      }
    }
    return memory_ + first_ * bytes_;
  }
  void use(int64_t count) {
    first_ += count;
    have_ -= count;
  }
  bool ended() const { return lowest_.ended(); }

 private:
  // Whole groups, of which `count` words are.
  bool unpack(const uint8_t* whole, int64_t groups, int64_t count) {
    uint8_t* out = memory_ + (first_ + have_) * bytes_;
    unpack_(words_, whole, planes_, groups, out);
    have_ += groups * kGroup;
    return lowest_.add(count, out);
  }

  AnsWords words_;
  Lowest lowest_;
  void (*unpack_)(const AnsWords&, const uint8_t*, const uint8_t*, int64_t, void*);
  int64_t bytes_;
  const uint8_t *low_, *planes_;
  int64_t kept_, first_ = 0, have_ = 0;
  alignas(64) uint8_t memory_[(kPart + 2 * kGroup) * 8];
};

// Words of symbols and raw bits where each word has some, or none has: 64 at a time.
class Joined {
 public:
  Joined(const Shared& shared, const AnsWords& words, int index, const Pieces& pieces, const Stream& stream)
      : words_(above_lowest(words, shared.d.low)),
        lowest_(shared, index, pieces, stream),
        join_(active_table().ans.join[index]),
        bytes_(int64_t{1} << index),
        whole_(pieces.whole),
        planes_(pieces.planes) {}

  // The next words. Not a multiple of 64 only at the last call. symbols: readable to the end of a group. Returns
  // whether there were lowest bits for them.
  bool words(const uint8_t* symbols, int64_t count, uint8_t* out) {
    ahead_ = 0;
    const int64_t groups = count / kGroup, rest = count % kGroup, whole = words_.raw / 8;
    if (!lowest_.decode(count)) return false;
    const uint8_t* lowest = lowest_.symbols();
    join_(words_, symbols, lowest, whole_, planes_, groups, out);
    whole_ += groups * kGroup * whole;
    planes_ += groups * 8 * (words_.raw % 8);
    if (rest > 0) {
      uint8_t last[kGroup * 8] = {}, made[kGroup * 8];
      std::memcpy(last, whole_, static_cast<size_t>(rest * whole));
      if (lowest != nullptr) lowest += groups * kGroup;
      join_(words_, symbols + groups * kGroup, lowest, last, planes_, 1, made);
      std::memcpy(out + groups * kGroup * bytes_, made, static_cast<size_t>(rest * bytes_));
    }
    return true;
  }
  // Asks for the raw bits of the next `count` words, a multiple of 64 but for the last: no processor foresees them, as
  // they are read in bursts, a few thousand words each.
  void fetch(int64_t count) {
    const int64_t whole = words_.raw / 8, bits = words_.raw % 8, from = ahead_;
    ahead_ += count;
    for (int64_t at = from * whole; at < ahead_ * whole; at += 64) __builtin_prefetch(whole_ + at);
    for (int64_t at = from / 8 * bits; at < ahead_ / 8 * bits; at += 64) __builtin_prefetch(planes_ + at);
  }
  bool ended() const { return lowest_.ended(); }

 private:
  AnsWords words_;
  Lowest lowest_;
  int64_t ahead_ = 0;
  void (*join_)(const AnsWords&, const uint8_t*, const uint8_t*, const uint8_t*, const uint8_t*, int64_t, void*);
  int64_t bytes_;
  const uint8_t *whole_, *planes_;
};

template <class Word>
void add_extras(const Shared& s, const uint8_t* symbols, int64_t count, Bits& bits, void* out) {
  uint16_t places[kPart];
  auto* words = static_cast<Word*>(out);
  const WordType type = s.by_value ? WordType{8, false} : s.type;
  const int trim = s.by_value ? 0 : s.d.trim;
  const auto* by_symbol = reinterpret_cast<const Word*>(s.by_symbol.data());
  const int64_t found = active_table().ans.places(s.corrected, symbols, count, places);
  for (int64_t i = 0; i < found; ++i) {
    const uint8_t symbol = symbols[places[i]];
    const uint64_t head = s.d.starts[symbol] + bits.take(s.d.extras[symbol]);
    const auto above = static_cast<Word>(word_of(head << s.d.raw, trim, type));
    words[places[i]] = static_cast<Word>(words[places[i]] ^ by_symbol[symbol] ^ above);
  }
}

void add_extras(const Shared& s, int bytes, const uint8_t* symbols, int64_t count, Bits& bits, void* out) {
  if (bytes == 1) return add_extras<uint8_t>(s, symbols, count, bits, out);
  if (bytes == 2) return add_extras<uint16_t>(s, symbols, count, bits, out);
  if (bytes == 4) return add_extras<uint32_t>(s, symbols, count, bits, out);
  add_extras<uint64_t>(s, symbols, count, bits, out);
}

bool by_palette(const Shared& s, const uint64_t* values, int64_t count, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] >= s.d.palette.size()) return false;
    const uint64_t word = word_of(s.d.palette[values[i]], s.d.trim, s.type);
    std::memcpy(out + i * s.type.bytes, &word, static_cast<size_t>(s.type.bytes));  // little-endian, as the core is
  }
  return true;
}

const char* decode_stream(const Shared& s, const Stream& stream, const Pieces& pieces, int64_t first, int64_t count,
                          uint8_t* out) {
  const Description& d = s.d;
  const int index = s.by_value ? 3 : s.type.index(), bytes = s.by_value ? 8 : s.type.bytes;
  const AnsWords words{.by_symbol = s.by_symbol.data(),
                       .by_byte = s.by_byte.data(),
                       .raw = d.raw,
                       .trim = s.by_value ? 0 : d.trim,
                       .rotated = !s.by_value && s.type.rotated,
                       .zero = d.zero,
                       .line = s.line};
  Symbols coded(s.entries, d.lanes, pieces.states, pieces.words, stream.words);
  const bool apart = d.zero && d.raw > 0;  // not every word has raw bits
  Joined joined(s, words, index, pieces, stream);
  Raw raw(s, words, index, pieces, stream);
  Bits extra(pieces.extra, pieces.end);
  uint8_t tables[kPart], symbols[kPart] = {};
  uint64_t values[kPart];
  int64_t kept = 0;
  for (int64_t at = 0; at < count; at += kPart) {
    const int64_t some = std::min(count - at, kPart);
    if (d.several()) {
      s.walk->tables(first + at, some, tables);
      for (int64_t from = 0; from < some; from += kAhead) {
        const int64_t now = std::min(some - from, kAhead);
        if (!apart) joined.fetch(now);
        if (!coded.decode(tables + from, now, symbols + from)) return "a stream of a block ends too early";
      }
    }
    if (d.zero) {
      kept += some - std::count(symbols, symbols + some, 0);
      if (kept > stream.kept) return "a stream of a block has another number of zeros than it says";
    }
    uint8_t* to = s.by_value ? reinterpret_cast<uint8_t*>(values) : out + at * bytes;
    if (!apart) {
      if (!joined.words(symbols, some, to)) return "a stream of a block ends too early";
    } else {
      const uint8_t* bits = raw.words(some);
      if (bits == nullptr) return "a stream of a block ends too early";
      raw.use(active_table().ans.combine[index](words, symbols, some, bits, to));
    }
    if (s.corrections) add_extras(s, bytes, symbols, some, extra, to);
    if (s.by_value && !by_palette(s, values, some, out + at * s.type.bytes))
      return "a block has a number beyond its palette";
  }
  if (d.zero && kept != stream.kept) return "a stream of a block has another number of zeros than it says";
  if ((d.several() && !coded.ended()) || !(apart ? raw.ended() : joined.ended()))
    return "a stream of a block does not end where its symbols do";
  if (!extra.ended()) return "a stream of a block has another number of extra bits than it says";
  return nullptr;
}

// Most symbols stand for one head after another: what these say of a word is on a line, which takes no look-ups, and
// the others are put right as those with extra bits are. Too many others would take more time than that saves.
void find_line(Shared& s) {
  const Description& d = s.d;
  constexpr int64_t kRare = 64;
  const bool rotated = s.type.rotated;
  if (!d.palette.empty() || (d.zero && d.raw > 0) || s.type.bytes > 4 || s.type.bytes < 2 || d.raw < rotated) return;
  int begin = 0, end = 0;
  for (int first = 0, i = 0; i < d.symbols(); ++i) {
    if (d.extras[i] > 0 || (i > first && d.starts[i] != d.starts[i - 1] + 1)) first = i + (d.extras[i] > 0);
    if (i + 1 - first > end - begin) begin = first, end = i + 1;
  }
  int64_t beside = 0;
  for (size_t at = 0; at < s.entries.size();) {
    const int symbol = s.entries[at] & 0xFF, often = s.entries[at] >> kAnsFrequencyShift & 0xFFF;
    if (symbol < begin || symbol >= end) beside += often;
    at += static_cast<size_t>(often);
  }
  if (s.entries.empty() || beside * kRare > static_cast<int64_t>(s.entries.size())) return;
  s.line = d.raw + d.trim - rotated;
  const uint64_t start = d.starts[begin] - static_cast<uint64_t>(begin);
  for (uint64_t i = 0; i < kMaxSymbols; ++i) {
    const uint64_t word = (start + i) << s.line;
    std::memcpy(reinterpret_cast<uint8_t*>(s.by_symbol.data()) + i * s.type.bytes, &word, s.type.bytes);
  }
  for (int i = 0; i < d.symbols(); ++i)
    if (i < begin || i >= end) s.corrected.add(static_cast<uint8_t>(i)), s.corrections = true;
}

// What each symbol says of a word: null where its number is beyond the palette.
const char* prepare(Shared& s) {
  const Description& d = s.d;
  s.corrections = d.wide();
  s.by_value = !d.palette.empty() && (d.raw > 0 || d.wide());
  s.by_symbol.assign(kMaxSymbols, 0);
  const int bytes = s.by_value ? 8 : s.type.bytes;
  for (int i = 0; i < d.symbols(); ++i) {
    uint64_t word = d.starts[i] << (d.raw & 63);
    if (d.raw == 64) word = 0;
    if (!d.palette.empty() && !s.by_value) {
      if (word >= d.palette.size()) return "a block has a number beyond its palette";
      word = d.palette[word];
    }
    if (!s.by_value) word = word_of(word, d.trim, s.type);
    std::memcpy(reinterpret_cast<uint8_t*>(s.by_symbol.data()) + i * bytes, &word, static_cast<size_t>(bytes));
  }
  const auto* words = reinterpret_cast<const uint8_t*>(s.by_symbol.data());
  s.by_byte.resize(static_cast<size_t>(kMaxSymbols * bytes));
  for (int i = 0; i < kMaxSymbols * bytes; ++i) s.by_byte[i % bytes * kMaxSymbols + i / bytes] = words[i];
  for (int i = 0; i < d.symbols(); ++i)
    if (d.extras[i] > 0) s.corrected.add(static_cast<uint8_t>(i));
  if (d.several()) s.entries = decoding_entries(d.logs, d.symbols(), d.steps);
  find_line(s);
  if (d.low == 0) return nullptr;
  s.low_entries = decoding_entries(d.low_logs, 1 << d.low, kFinest);
  s.by_low.assign(kMaxSymbols, 0);
  for (int i = 0; i < 1 << d.low; ++i) {
    const uint64_t word = word_of(static_cast<uint64_t>(i), d.trim, s.type);
    std::memcpy(reinterpret_cast<uint8_t*>(s.by_low.data()) + i * bytes, &word, static_cast<size_t>(bytes));
  }
  return nullptr;
}

}  // namespace

std::vector<uint32_t> decoding_entries(const std::vector<uint8_t>& logs, int symbols, int steps) {
  // Eight at a time, the last ones too many: the next symbol's lie over them.
  constexpr uint32_t kSome = 8;
  const size_t size = logs.size() / static_cast<size_t>(symbols) << kPrecision;
  std::vector<uint32_t> out(size + kSome);
  uint32_t* at = out.data();
  for (const uint8_t* table = logs.data(); table < logs.data() + logs.size(); table += symbols) {
    const std::vector<uint32_t> all = frequencies(table, symbols, steps);
    for (int symbol = 0; symbol < symbols; ++symbol) {
      const uint32_t entry = static_cast<uint32_t>(symbol) | all[symbol] << kAnsFrequencyShift;
      for (uint32_t i = 0; i < all[symbol]; i += kSome)
        for (uint32_t k = i; k < i + kSome; ++k) at[k] = entry | k << kAnsDistanceShift;
      at += all[symbol];
    }
  }
  out.resize(size);
  return out;
}

std::string decode(const uint8_t* block, int64_t size, int64_t count, WordType type, uint8_t* out, int threads) {
  if (size < 4) return "a block is shorter than its description";
  uint32_t side;
  std::memcpy(&side, block, 4);
  if (side > size - 4) return "a block is shorter than its description";
  Shared s;
  s.type = type;
  Reader reader(block + 4, side);
  if (const char* problem = describe(reader, s.d, count, type.bits())) return problem;
  const bool several = s.d.several();
  std::vector<Pieces> pieces;
  const uint8_t* at = block + 4 + side;
  int64_t left = size - 4 - side;
  for (const Stream& stream : s.d.streams) {
    const int64_t states = 4 * s.d.lanes, raw = s.d.raw - s.d.low;
    const int64_t lengths[] = {
        several ? states : 0, 2 * stream.words,        s.d.low > 0 ? states : 0,
        2 * stream.low,       stream.kept * (raw / 8), (stream.kept + kGroup - 1) / kGroup * 8 * (raw % 8),
        stream.extra};
    const uint8_t* begins[8] = {at};
    for (int i = 0; i < 7; ++i) {
      left -= lengths[i];
      begins[i + 1] = left < 0 ? at : begins[i] + lengths[i];
    }
    if (left < 0) break;
    pieces.push_back({begins[0], begins[1], begins[2], begins[3], begins[4], begins[5], begins[6], begins[7]});
    at = begins[7];
  }
  if (left != 0) return "the streams of a block are not as long as it says";
  if (const char* problem = prepare(s)) return problem;
  const TableWalk walk(s.d);
  s.walk = &walk;
  std::atomic<const char*> problem{nullptr};
  parallel_for(threads, static_cast<int64_t>(pieces.size()), [&](int64_t number) {
    const int64_t first = number * kStreamSymbols, some = std::min(count - first, kStreamSymbols);
    if (const char* found =
            decode_stream(s, s.d.streams[number], pieces[number], first, some, out + first * type.bytes))
      problem = found;
  });
  return problem.load() == nullptr ? "" : problem.load();
}

}  // namespace tersely::ans
