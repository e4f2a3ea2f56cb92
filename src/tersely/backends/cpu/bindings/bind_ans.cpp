// Blocks of the storage tier: borrow arrays, check their sizes, release the interpreter lock, call.
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/storage/ans/block.hpp"

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

// numbers: lanes, trim, raw, zero, base, steps. classes: of all axes one after another; classed: of each axis.
nb::bytes encode(Words words, int bytes, bool rotated, Words numbers, Words palette, Words starts, Words extras,
                 Words dims, Words classed, Words classes, Words logs, int threads) {
  const WordType type = type_of(bytes, rotated);
  const auto count = static_cast<int64_t>(words.nbytes()) / bytes;
  require_size(numbers.nbytes() == 24 && count > 0 && starts.nbytes() > 0 && extras.nbytes() * 8 == starts.nbytes() &&
               classed.nbytes() * 8 == dims.nbytes() && dims.nbytes() > 0 && logs.nbytes() % extras.nbytes() == 0);
  Description d;
  const auto settings = list_of<int32_t>(numbers);
  d.lanes = settings[0], d.trim = settings[1], d.raw = settings[2], d.zero = settings[3] != 0;
  d.base = settings[4], d.steps = settings[5];
  d.palette = list_of<uint64_t>(palette);
  d.starts = list_of<uint64_t>(starts);
  d.extras = list_of<uint8_t>(extras);
  d.dims = list_of<int64_t>(dims);
  d.logs = list_of<uint8_t>(logs);
  d.tables = static_cast<int>(logs.nbytes() / extras.nbytes());
  const auto all = list_of<int8_t>(classes);
  size_t at = 0;
  int64_t product = 1;
  for (size_t axis = 0; axis < d.dims.size(); ++axis) {
    const size_t length = static_cast<const uint8_t*>(classed.data())[axis] ? static_cast<size_t>(d.dims[axis]) : 0;
    require_size(at + length <= all.size());
    d.classes.emplace_back(all.begin() + static_cast<int64_t>(at), all.begin() + static_cast<int64_t>(at + length));
    at += length;
    product *= d.dims[axis];
  }
  require_size(product == count && at == all.size());
  std::vector<uint8_t> out;
  {
    const Computing unlocked;
    out = tersely::ans::encode(bytes_of(words), count, type, d, threads);
  }
  return nb::bytes(out.data(), out.size());
}

// Returns what is wrong with the block, "" for nothing.
std::string decode(Words block, int bytes, bool rotated, MutableBytes out, int threads) {
  const WordType type = type_of(bytes, rotated);
  const auto count = static_cast<int64_t>(out.size()) / bytes;
  require_size(count * bytes == static_cast<int64_t>(out.size()) && count > 0);
  const Computing unlocked;
  return tersely::ans::decode(bytes_of(block), static_cast<int64_t>(block.nbytes()), count, type, out.data(), threads);
}

}  // namespace

void bind_ans(nb::module_& m) {
  m.def("ans_encode", &encode);
  m.def("ans_decode", &decode);
}
