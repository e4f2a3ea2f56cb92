// Blocks of the storage tier: borrow the tensors' bytes, release the interpreter lock, call.
#include <nanobind/stl/array.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <string>
#include <tuple>
#include <vector>

#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/storage/differences/differences.hpp"
#include "tersely/storage/mixing/block.hpp"

namespace {

// Bytes of a tensor, of a number, of a float's exponent and mantissa in bits (0: none), axes.
template <class Bytes>
using Described = std::vector<std::tuple<Bytes, uint32_t, int, int, std::array<size_t, 4>>>;
using ConstBytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// What is encoded is only read, though an item's memory can be written.
template <class Bytes>
std::vector<tersely::storage::MixedItem> items_of(const Described<Bytes>& described) {
  std::vector<tersely::storage::MixedItem> items;
  for (const auto& [data, word_bytes, exponent, mantissa, axes] : described) {
    tersely::require(word_bytes == 1 || word_bytes == 2 || word_bytes == 4 || word_bytes == 8,
                     "a number has 1, 2, 4 or 8 bytes");
    size_t words = 1;
    for (const size_t length : axes) {
      tersely::require(!__builtin_mul_overflow(words, length, &words), "axes of too many numbers");
    }
    require_size(data.size() % word_bytes == 0 && data.size() / word_bytes == words);
    tersely::require(exponent >= 0 && mantissa >= 0 && exponent <= 11 && mantissa <= 52 &&
                         (exponent == 0 || 1 + exponent + mantissa == static_cast<int>(word_bytes) * 8),
                     "a float's bits do not fill its bytes");
    items.push_back({const_cast<uint8_t*>(data.data()), data.size(), word_bytes, exponent, mantissa, axes});
  }
  return items;
}

nb::bytes encode(const Described<ConstBytes>& described, const std::vector<nb::bytes>& sides) {
  const auto items = items_of(described);
  std::vector<std::vector<uint8_t>> forms;
  for (const nb::bytes& side : sides) {
    const auto* begin = reinterpret_cast<const uint8_t*>(side.c_str());
    forms.emplace_back(begin, begin + side.size());
  }
  require_size(forms.size() == items.size());
  std::vector<uint8_t> block;
  std::string wrong;
  {
    const Computing unlocked;
    wrong = tersely::storage::encode_mixed(items, forms, block);
  }
  if (!wrong.empty()) throw std::invalid_argument(wrong);
  return nb::bytes(reinterpret_cast<const char*>(block.data()), block.size());
}

void decode(ConstBytes block, const Described<MutableBytes>& described) {
  const auto items = items_of(described);
  std::string wrong;
  {
    const Computing unlocked;
    wrong = tersely::storage::decode_mixed(block.data(), block.size(), items);
  }
  if (!wrong.empty()) throw std::invalid_argument(wrong);
}

tersely::storage::FloatBits float_bits(int word_bytes, int exponent, int mantissa) {
  tersely::require(word_bytes == 2 || word_bytes == 4 || word_bytes == 8, "a word has 2, 4 or 8 bytes");
  tersely::require(exponent > 0 && exponent <= 11 && mantissa > 0 && 1 + exponent + mantissa == word_bytes * 8,
                   "a float's bits do not fill its bytes");
  return {word_bytes, exponent, mantissa};
}

void exponents(ConstBytes words, int word_bytes, int exponent, int mantissa,
               nb::ndarray<int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> counts) {
  const auto bits = float_bits(word_bytes, exponent, mantissa);
  require_size(words.size() % word_bytes == 0 && counts.size() == size_t{1} << exponent);
  const Computing unlocked;
  tersely::storage::count_exponents(words.data(), words.size() / word_bytes, bits, counts.data());
}

using Rearrange = void (*)(const uint8_t*, const uint8_t*, size_t, tersely::storage::FloatBits, const uint8_t*,
                           uint8_t*);

template <Rearrange Made>
void rearranged(ConstBytes given, ConstBytes reference, int word_bytes, int exponent, int mantissa, ConstBytes classes,
                MutableBytes out) {
  const auto bits = float_bits(word_bytes, exponent, mantissa);
  require_size(given.size() % word_bytes == 0 && reference.size() == given.size() && out.size() == given.size() &&
               classes.size() == size_t{1} << exponent);
  const Computing unlocked;
  Made(given.data(), reference.data(), given.size() / word_bytes, bits, classes.data(), out.data());
}

}  // namespace

void bind_storage(nb::module_& m) {
  m.def("mixing_encode", &encode, nb::arg("items"), nb::arg("sides"));
  m.def("mixing_decode", &decode, nb::arg("block"), nb::arg("items"));
  m.def("difference_exponents", &exponents, nb::arg("words"), nb::arg("word_bytes"), nb::arg("exponent"),
        nb::arg("mantissa"), nb::arg("counts"));
  m.def("difference_split", &rearranged<tersely::storage::split_differences>, nb::arg("words"), nb::arg("reference"),
        nb::arg("word_bytes"), nb::arg("exponent"), nb::arg("mantissa"), nb::arg("classes"), nb::arg("out"));
  m.def("difference_join", &rearranged<tersely::storage::join_differences>, nb::arg("differences"),
        nb::arg("reference"), nb::arg("word_bytes"), nb::arg("exponent"), nb::arg("mantissa"), nb::arg("classes"),
        nb::arg("out"));
}
