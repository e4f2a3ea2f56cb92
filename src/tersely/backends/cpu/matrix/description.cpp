// See description.hpp.
#include "tersely/backends/cpu/matrix/description.hpp"

#include <cstring>
#include <new>
#include <stdexcept>

namespace tersely {
namespace {

[[noreturn]] void refuse_view(const std::string& view, size_t dimensions) {
  throw std::invalid_argument("view '" + view + "' does not fit a tensor of " + std::to_string(dimensions) +
                              " dimensions in this order");
}

std::vector<int64_t> offsets_of(const std::vector<int64_t>& shape, int64_t columns, bool blocked) {
  constexpr int64_t kChannelBlock = 16;
  const int64_t channels = shape[1], taps = channels == 0 ? 0 : columns / channels;
  const int64_t block = blocked ? kChannelBlock : std::max<int64_t>(1, channels);
  if (channels % block != 0) throw std::invalid_argument("channels are no multiple of 16 in this column order");
  if (static_cast<uint64_t>(columns) > (uint64_t{1} << 60)) throw std::bad_alloc();
  std::vector<int64_t> found(static_cast<size_t>(columns));
  size_t at = 0;
  for (int64_t first = 0; first < channels; first += block)
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t channel = first; channel < first + block; ++channel) found[at++] = channel * taps + tap;
  return found;
}

}  // namespace

Node Node::of(const Json& json) {
  Node node;
  node.formulation = json.at("formulation").string();
  node.version = json.at("version").number();
  if (const Json* parameters = json.find("parameters")) node.parameters = *parameters;
  if (const Json* children = json.find("children"))
    for (const auto& [name, child] : children->members()) node.children.emplace(name, of(child));
  return node;
}

const Node& Node::child(const std::string& name) const {
  const auto found = children.find(name);
  if (found == children.end())
    throw std::invalid_argument("formulation '" + formulation + "' has no child '" + name + "'");
  return found->second;
}

Description Description::parse(std::string_view text) {
  const Json json = Json::parse(text);
  Description found;
  for (const Json& length : json.at("shape").array()) {
    found.shape.push_back(length.number());
    if (found.shape.back() < 0) throw std::invalid_argument("description: a shape has negative lengths");
  }
  found.dtype = json.at("dtype").string();
  found.view = json.at("view").string();
  found.orientation = json.at("orientation").string();
  found.column_order = json.at("column_order").string();
  found.node = Node::of(json.at("node"));
  return found;
}

Components Components::under(const std::string& child) const {
  Components found(*this);
  found.prefix_ += child + ".";
  return found;
}

void Components::refuse(const std::string& name, const std::string& what, int64_t byte) const {
  const std::string at = byte < 0 ? "" : "byte " + std::to_string(byte) + " of ";
  throw std::invalid_argument(at + "component '" + prefix_ + name + "' " + what);
}

const uint8_t* Components::index(const std::string& name, int64_t used) const {
  const auto found = all_->find(prefix_ + name);
  if (found == all_->end()) refuse(name, "is missing");
  if (used < 0 || found->second.size < used)
    refuse(name, "has " + std::to_string(found->second.size) + " bytes where " + std::to_string(used) + " are read");
  return found->second.data;
}

const uint8_t* Components::stream(const std::string& name, int64_t used) const {
  return index(name, used < 0 ? used : used + kSlackBytes);
}

const uint64_t* Components::directory(int64_t parts, int columns, int64_t most) const {
  const int64_t entries = checked_product(parts + 1, columns);
  const uint8_t* at = index("directory", checked_product(entries, 8));
  if (reinterpret_cast<uintptr_t>(at) % 8 != 0) refuse("directory", "is not aligned to 8 bytes");
  const auto* starts = reinterpret_cast<const uint64_t*>(at);
  for (int column = 0; column < columns; ++column)
    if (starts[column] != 0) refuse("directory", "does not begin with zero");
  for (int64_t i = columns; i < entries; ++i)
    if (starts[i] - starts[i - columns] > static_cast<uint64_t>(most))  // wraps where entries fall
      refuse("directory", "is an impossible entry", i * 8);
  return starts;
}

Seen see(const std::vector<int64_t>& shape, const std::string& view, const std::string& orientation,
         const std::string& column_order) {
  const size_t dimensions = shape.size();
  Seen seen;
  Geometry& g = seen.geometry;
  g.elements = g.count = 1;
  for (const int64_t length : shape) g.elements = checked_product(g.elements, length);
  const bool transposed = orientation == "in_out";
  const bool fits = view == "folded" || (view == "matrix" && dimensions == 2) || (view == "stack" && dimensions == 3) ||
                    (view == "convolution" && dimensions >= 3);
  if (!fits || (!transposed && orientation != "out_in") || (transposed && view != "matrix" && view != "stack") ||
      (column_order != "as_is" && view != "convolution"))
    refuse_view(view, dimensions);
  if (view == "folded") {
    g.rows = kPanelRows;
    g.columns = ceil_div(g.elements, kPanelRows);
  } else if (view == "convolution") {
    g.rows = shape[0];
    g.columns = 1;
    for (size_t i = 1; i < dimensions; ++i) g.columns = checked_product(g.columns, shape[i]);
  } else {
    g.count = view == "stack" ? shape[0] : 1;
    g.rows = shape[dimensions - (transposed ? 1 : 2)];
    g.columns = shape[dimensions - (transposed ? 2 : 1)];
  }
  g.matrix_stride = checked_product(g.rows, g.columns);
  g.row_stride = transposed ? 1 : g.columns;
  g.column_stride = transposed ? g.rows : 1;
  derive(g);
  if (column_order != "as_is") {
    if (column_order != "tap_channel" && column_order != "block_tap_channel") refuse_view(view, dimensions);
    seen.offsets =
        std::make_shared<const std::vector<int64_t>>(offsets_of(shape, g.columns, column_order == "block_tap_channel"));
    g.column_offsets = seen.offsets->data();
  }
  return seen;
}

DType dtype_of(const std::string& name) {
  constexpr const char* kNames[] = {"float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "index"};
  for (int i = 0; i < 6; ++i)
    if (name == kNames[i]) return static_cast<DType>(i);
  throw std::invalid_argument("no native operators for dtype " + name);
}

DType wide_dtype(const std::string& name) {
  const DType dtype = dtype_of(name);
  if (kFields[static_cast<int>(dtype)].word_bytes < 2)
    throw std::invalid_argument("this formulation codes words of 16 and 32 bits, not " + name);
  return dtype;
}

DType sparse_dtype(const std::string& name) {
  return name == "int8" || name == "uint8" ? DType::kIndex : wide_dtype(name);
}

int64_t checked_product(int64_t a, int64_t b) {
  int64_t product;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product) || product > (int64_t{1} << 62)) throw std::bad_alloc();
  return product;
}

}  // namespace tersely
