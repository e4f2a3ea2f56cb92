// Blocks of the storage tier: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/bindings/parts.hpp"
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

void sum_sizes(Words symbols, Words sizes, MutableWords row_sums, MutableWords column_sums) {
  const auto rows = static_cast<int64_t>(row_sums.nbytes() / 8),
             columns = static_cast<int64_t>(column_sums.nbytes() / 8);
  require_size(static_cast<int64_t>(symbols.nbytes()) == rows * columns && sizes.nbytes() == 512);
  const Computing unlocked;
  tersely::ans::sum_sizes(bytes_of(symbols), static_cast<const int16_t*>(sizes.data()), rows, columns,
                          as<int64_t>(row_sums), as<int64_t>(column_sums));
}

void count(Words symbols, Words dims, Words classed, Words classes, int base, int tables, MutableWords counts) {
  Description d;
  d.dims = list_of<int64_t>(dims);
  d.base = base;
  d.tables = tables;
  require_size(tables > 0 && tables <= tersely::ans::kMaxTables && counts.nbytes() == 16 * 256 * 4 &&
               set_classes(d, classed, classes) == static_cast<int64_t>(symbols.nbytes()));
  const Computing unlocked;
  tersely::ans::count_by_table(bytes_of(symbols), static_cast<int64_t>(symbols.nbytes()), tersely::ans::TableWalk(d),
                               as<uint32_t>(counts));
}

}  // namespace

void bind_ans(nb::module_& m) {
  m.def("ans_encode", &encode);
  m.def("ans_decode", &decode);
  m.def("ans_heads", &heads);
  m.def("ans_lowest", &lowest);
  m.def("ans_symbols", &symbols);
  m.def("ans_sum_sizes", &sum_sizes);
  m.def("ans_count", &count);
}
