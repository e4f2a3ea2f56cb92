// A coded tensor as a program gets it from a file: a description and named bytes. core/encoded.py is the same in
// Python.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tersely/backends/cpu/matrix/geometry.hpp"
#include "tersely/backends/cpu/matrix/json.hpp"

namespace tersely {

// One formulation of the description tree. A child's components carry its name as a dotted prefix.
struct Node {
  std::string formulation;
  int64_t version = 1;
  Json parameters;
  std::map<std::string, Node> children;

  static Node of(const Json& json);
  // Throws std::invalid_argument where there is none of that name.
  const Node& child(const std::string& name) const;
};

struct Description {
  std::vector<int64_t> shape;
  std::string dtype, view, orientation, column_order;
  Node node;

  // {"shape", "dtype", "view", "orientation", "column_order", "node"}. Throws std::invalid_argument.
  static Description parse(std::string_view text);
};

struct Bytes {
  const uint8_t* data;
  int64_t size;
};

// Components by dotted name: borrowed bytes. Sizes are checked where they are taken, so that whoever opens a matrix
// over them reads nothing beyond; throws std::invalid_argument with the component's name otherwise.
class Components {
 public:
  Components() : all_(std::make_shared<std::map<std::string, Bytes>>()) {}
  void add(const std::string& name, Bytes bytes) { (*all_)[prefix_ + name] = bytes; }
  // Those of a child.
  Components under(const std::string& child) const;

  bool has(const std::string& name) const { return all_->count(prefix_ + name) != 0; }
  // At least `used` bytes. A stream is read a register at a time: kSlackBytes must follow.
  const uint8_t* index(const std::string& name, int64_t used) const;
  const uint8_t* stream(const std::string& name, int64_t used) const;
  // u64 [parts + 1][columns], aligned to 8 bytes, each column from 0 on, never falling, by at most `most` a part.
  const uint64_t* directory(int64_t parts, int columns, int64_t most) const;
  // What to throw of a component.
  [[noreturn]] void refuse(const std::string& name, const std::string& what, int64_t byte = -1) const;

 private:
  std::shared_ptr<std::map<std::string, Bytes>> all_;
  std::string prefix_;
};

// How a tensor is seen as matrices, with the array that the geometry's column offsets lie in.
struct Seen {
  Geometry geometry{};
  std::shared_ptr<const std::vector<int64_t>> offsets;
};
// Throws std::invalid_argument where shape and view do not fit, std::bad_alloc for more columns than memory holds.
Seen see(const std::vector<int64_t>& shape, const std::string& view, const std::string& orientation,
         const std::string& column_order);

// The dtypes of split's words and 'index'. Throws std::invalid_argument for others.
DType dtype_of(const std::string& name);
// The same for formulations that code words of 16 and 32 bits.
DType wide_dtype(const std::string& name);
// The same for selections: integers of 8 bits are bytes of which all is symbol.
DType sparse_dtype(const std::string& name);

// a x b, or an error where that is beyond what memory can be: sizes come from files.
int64_t checked_product(int64_t a, int64_t b);

}  // namespace tersely
