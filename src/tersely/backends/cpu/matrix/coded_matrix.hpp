// A coded matrix of any formulation, as formulations see it that hold another one inside.
#pragma once

#include "tersely/backends/cpu/matrix/operators.hpp"

namespace tersely {

// What the operators of the same names do (operators.hpp); safe under several threads.
class CodedMatrix {
 public:
  virtual ~CodedMatrix() = default;
  virtual const Geometry& geometry() const = 0;
  virtual int64_t word_bytes() const = 0;
  virtual void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements,
                             uint8_t* out, int threads) const = 0;
  virtual uint32_t access(int64_t matrix, int64_t row, int64_t column) const = 0;
  virtual int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const = 0;
  virtual void multiply(const Rows& rows, int threads, bool transposed) const = 0;
};

}  // namespace tersely
