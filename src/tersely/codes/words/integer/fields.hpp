// Fields of `integer` over components.
#pragma once

#include "tersely/backends/cpu/matrix/description.hpp"
#include "tersely/codes/words/integer/integer.hpp"

namespace tersely {

class IntegerFields {
 public:
  // dtype: 'int8' or 'uint8'.
  IntegerFields(const Geometry& geometry, const std::string& dtype, const Components& components);
  IntegerFields(const IntegerFields&) = delete;
  IntegerFields& operator=(const IntegerFields&) = delete;
  const IntegerView& view() const { return view_; }

 private:
  std::vector<int64_t> starts_;
  IntegerView view_{};
};

// What a word and its level differ by, as an exclusive or: 0x80 for int8, 0 for uint8. Throws std::invalid_argument.
uint8_t flip_of(const std::string& dtype);

}  // namespace tersely
