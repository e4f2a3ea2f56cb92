// Blocks of the storage tier: borrow arrays, check their sizes, release the interpreter lock, call.
#include <span>

#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/storage/ans/cuts.hpp"
#include "tersely/storage/ans/grouping.hpp"
#include "tersely/storage/ans/logarithm.hpp"
#include "tersely/storage/ans/survey.hpp"

namespace {

using tersely::ans::Description;
using tersely::ans::WordType;

WordType type_of(int bytes, bool rotated) {
  tersely::require(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8, "words have 1, 2, 4 or 8 bytes");
  return {bytes, rotated};
}

template <class T>
std::vector<T> list_of(const Words& array) {
  const auto* first = static_cast<const T*>(array.data());
  return std::vector<T>(first, first + array.nbytes() / sizeof(T));
}

// Classes of all axes, one after another, by d's dims; classed: whether an axis has any. Returns the product of dims.
int64_t set_classes(Description& d, const Words& classed, const Words& classes) {
  require_size(classed.nbytes() == d.dims.size() && !d.dims.empty());
  const auto all = list_of<int8_t>(classes);
  auto at = all.begin();
  int64_t product = 1;
  for (size_t axis = 0; axis < d.dims.size(); ++axis) {
    const int64_t length = static_cast<const uint8_t*>(classed.data())[axis] ? d.dims[axis] : 0;
    require_size(d.dims[axis] > 0 && length <= all.end() - at);
    d.classes.emplace_back(at, at + length);
    at += length;
    product *= d.dims[axis];
  }
  require_size(at == all.end());
  return product;
}

// The block behind `head`. numbers: lanes, trim, raw, zero, base, steps, low. classes: of all axes one after another;
// classed: of each axis.
nb::bytes encode(Words head, Words words, Words symbols, int bytes, bool rotated, Words numbers, Words palette,
                 Words starts, Words extras, Words dims, Words classed, Words classes, Words logs, Words low_logs,
                 int threads) {
  const WordType type = type_of(bytes, rotated);
  const auto count = static_cast<int64_t>(words.nbytes()) / bytes;
  require_size(numbers.nbytes() == 28 && count > 0 && static_cast<int64_t>(symbols.nbytes()) == count &&
               starts.nbytes() > 0 && extras.nbytes() * 8 == starts.nbytes() && logs.nbytes() % extras.nbytes() == 0);
  Description d;
  const auto settings = list_of<int32_t>(numbers);
  d.lanes = settings[0], d.trim = settings[1], d.raw = settings[2], d.zero = settings[3] != 0;
  d.base = settings[4], d.steps = settings[5], d.low = settings[6];
  d.palette = list_of<uint64_t>(palette);
  d.starts = list_of<uint64_t>(starts);
  d.extras = list_of<uint8_t>(extras);
  d.dims = list_of<int64_t>(dims);
  d.logs = list_of<uint8_t>(logs);
  d.low_logs = list_of<uint8_t>(low_logs);
  require_size(d.low >= 0 && d.low <= tersely::ans::kMaxLow && d.low <= d.raw &&
               d.low_logs.size() == (d.low > 0 ? size_t{1} << d.low : 0));
  d.tables = static_cast<int>(logs.nbytes() / extras.nbytes());
  require_size(set_classes(d, classed, classes) == count);
  tersely::ans::EncodedBlock block;
  {
    const Computing unlocked;
    block = tersely::ans::encode(bytes_of(words), bytes_of(symbols), count, type, d, threads);
  }
  PyObject* out = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(head.nbytes() + block.size()));
  if (out == nullptr) throw nb::python_error();
  auto* to = reinterpret_cast<uint8_t*>(PyBytes_AsString(out));
  block.write(std::copy_n(bytes_of(head), head.nbytes(), to));
  return nb::steal<nb::bytes>(out);
}

// Returns what is wrong with the block, "" for nothing.
std::string decode(Words block, int bytes, bool rotated, MutableBytes out, int threads) {
  const WordType type = type_of(bytes, rotated);
  const auto count = static_cast<int64_t>(out.size()) / bytes;
  require_size(count * bytes == static_cast<int64_t>(out.size()) && count > 0);
  const Computing unlocked;
  return tersely::ans::decode(bytes_of(block), static_cast<int64_t>(block.nbytes()), count, type, out.data(), threads);
}

int64_t heads(Words words, int bytes, bool rotated, int trim, int raw, MutableWords counts, int threads) {
  const WordType type = type_of(bytes, rotated);
  const int bits = type.bits() - trim - raw;
  require_size(trim >= 0 && raw >= 0 && raw < 64 && bits >= 0 && bits < 32 && counts.nbytes() == size_t{4} << bits);
  const Computing unlocked;
  return tersely::ans::count_heads(bytes_of(words), static_cast<int64_t>(words.nbytes()) / bytes, type, trim, raw,
                                   int64_t{1} << bits, as<uint32_t>(counts), threads);
}

void lowest(Words words, int bytes, bool rotated, int trim, int low, bool nonzero, MutableWords counts, int threads) {
  const WordType type = type_of(bytes, rotated);
  require_size(trim >= 0 && trim < type.bits() && low >= 0 && low <= 8 && counts.nbytes() == size_t{4} << low);
  const Computing unlocked;
  tersely::ans::count_lowest(bytes_of(words), static_cast<int64_t>(words.nbytes()) / bytes, type, trim, low, nonzero,
                             as<uint32_t>(counts), threads);
}

void symbols(Words words, int bytes, bool rotated, int trim, int raw, bool zero, Words by_head, MutableBytes out,
             int threads) {
  const WordType type = type_of(bytes, rotated);
  const int bits = type.bits() - trim - raw;
  const auto count = static_cast<int64_t>(words.nbytes()) / bytes;
  require_size(trim >= 0 && raw >= 0 && raw < 64 && bits >= 0 && bits < 32 && by_head.nbytes() == size_t{1} << bits &&
               static_cast<int64_t>(out.size()) == count);
  const Computing unlocked;
  tersely::ans::find_symbols(bytes_of(words), count, type, trim, raw, zero, bytes_of(by_head), out.data(), threads);
}

nb::tuple distinct(Words words, int bytes, bool rotated, int trim, int raw) {
  const WordType type = type_of(bytes, rotated);
  tersely::ans::Distinct found;
  const int bits = type.bits() - trim - raw;
  require_size(trim >= 0 && raw >= 0 && raw < 64 && bits >= 0 && bits < 32);
  {
    const Computing unlocked;
    found = tersely::ans::count_distinct(bytes_of(words), static_cast<int64_t>(words.nbytes()) / bytes, type, trim, raw,
                                         1 << bits);
  }
  return nb::make_tuple(found.found, found.expected);
}

int64_t repeats(Words bytes, int word) {
  require_size(word > 0);
  const Computing unlocked;
  return tersely::ans::count_repeats(bytes_of(bytes), static_cast<int64_t>(bytes.nbytes()), word);
}

template <class T>
std::span<const T> span_of(const Words& array) {
  return {static_cast<const T*>(array.data()), array.nbytes() / sizeof(T)};
}
template <class T>
nb::bytes bytes_from(const std::vector<T>& all) {
  return nb::bytes(all.data(), all.size() * sizeof(T));
}

// numbers: finest, width, total, zeros, whether values are floats, raw bits to try.
nb::tuple cut(Words values, Words counts, Words numbers) {
  const auto all = span_of<int64_t>(numbers);
  require_size(all.size() > 5 && values.nbytes() == counts.nbytes() && values.nbytes() > 0);
  const auto raws = all.subspan(5);
  for (const int64_t raw : raws) require_size(raw >= all[0] && raw <= 64);
  tersely::ans::Cut found;
  {
    const Computing unlocked;
    found = tersely::ans::best_cut({span_of<uint64_t>(values), span_of<int64_t>(counts), static_cast<int>(all[0]),
                                    static_cast<int>(all[1]), all[2], all[3]},
                                   raws, all[4] != 0);
  }
  return nb::make_tuple(found.raw, found.zero, found.bits, bytes_from(found.starts), bytes_from(found.extras),
                        bytes_from(found.often));
}

int64_t entropy(Words counts, int64_t symbols) {
  const auto all = span_of<int64_t>(counts);
  require_size(symbols > 0 && all.size() % static_cast<size_t>(symbols) == 0);
  return tersely::ans::entropy_of(all.data(), static_cast<int64_t>(all.size()) / symbols, symbols, symbols);
}

// numbers: whether symbol 0 is the word 0, whether words have raw bits, whether symbol 0 has none, dims. Returns the
// base, steps, which axes have classes, these one after another, counts, and logarithms.
nb::tuple group(Words symbols, Words sizes, Words often, Words numbers) {
  const auto all = span_of<int64_t>(numbers);
  require_size(all.size() > 3 && sizes.nbytes() > 0 && sizes.nbytes() <= 2048 && often.nbytes() == sizes.nbytes());
  tersely::ans::Grouped given{bytes_of(symbols),
                              {all.begin() + 3, all.end()},
                              span_of<int64_t>(sizes),
                              span_of<int64_t>(often),
                              all[0] != 0,
                              all[1] != 0,
                              all[2] != 0};
  int64_t count = 1;
  for (const int64_t length : given.dims) {
    require_size(length > 0);
    count *= length;
  }
  require_size(count == static_cast<int64_t>(symbols.nbytes()) && given.dims.size() <= tersely::ans::kMaxAxes);
  tersely::ans::Groups found;
  {
    const Computing unlocked;
    found = tersely::ans::group(given);
  }
  nb::list classed;
  std::vector<int8_t> classes;
  for (const auto& axis : found.classes) {
    classed.append(!axis.empty());
    classes.insert(classes.end(), axis.begin(), axis.end());
  }
  return nb::make_tuple(found.base, found.steps, classed, bytes_from(classes), bytes_from(found.counts),
                        bytes_from(found.logs));
}

}  // namespace

void bind_ans(nb::module_& m) {
  m.def("ans_encode", &encode);
  m.def("ans_decode", &decode);
  m.def("ans_heads", &heads);
  m.def("ans_lowest", &lowest);
  m.def("ans_symbols", &symbols);
  m.def("ans_distinct", &distinct);
  m.def("ans_repeats", &repeats);
  m.def("ans_cut", &cut);
  m.def("ans_entropy", &entropy);
  m.def("ans_group", &group);
}
