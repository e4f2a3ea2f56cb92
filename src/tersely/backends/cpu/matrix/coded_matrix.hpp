// A coded matrix of any formulation: what programs, bindings and formulations that hold another one inside see of it.
#pragma once

#include <memory>

#include "tersely/backends/cpu/matrix/dispatch.hpp"
#include "tersely/backends/cpu/matrix/integer_rows.hpp"
#include "tersely/backends/cpu/matrix/operators.hpp"

namespace tersely {

// What kernels multiply a matrix by: nothing (it is decoded), floats, integers (integer_rows.hpp), or integers
// of which each weight is two, a byte's halves.
enum class Products : uint8_t { kNone, kFloats, kIntegers, kNibbles };

// Bytes that decoding a unit's chunks may write beyond them.
inline constexpr int64_t kChunksSlack = 256;

// Borrows the components that it was opened over; safe under several threads.
// Rows as lanes of column gaps, 16 side by side, for operators of networks. Safe under several threads.
class GapLanes {
 public:
  GapLanes() = default;
  GapLanes(const GapLanes&) = delete;
  GapLanes& operator=(const GapLanes&) = delete;
  virtual ~GapLanes() = default;
  // The row of the matrix that a lane of a group of 16 holds, beyond its rows for padding.
  virtual int64_t row(int64_t group, int lane) const = 0;
  // Blocks of 4 entries that each lane of a group has.
  virtual int64_t blocks(int64_t group) const = 0;
  // Their gaps and words, in memory of the calling thread where they are decoded, good until its next call.
  virtual GapEntries entries(const KernelTable& table, int64_t group) const = 0;
};

class CodedMatrix {
 public:
  CodedMatrix() = default;
  CodedMatrix(const CodedMatrix&) = delete;
  CodedMatrix& operator=(const CodedMatrix&) = delete;
  virtual ~CodedMatrix() = default;

  virtual const Geometry& geometry() const = 0;
  virtual int64_t word_bytes() const = 0;
  // What its words are, where it has a product of floats.
  virtual DType dtype() const { return DType::kIndex; }
  virtual Products products() const { return Products::kFloats; }
  // Its words as a walk, for operators of networks; null where it has none.
  virtual const MatrixView* words() const { return nullptr; }
  // Its rows as gaps; null where they lie otherwise.
  virtual const GapLanes* gaps() const { return nullptr; }

  // Whether the bytes of a matrix of them can be decoded a unit at a time, as below.
  virtual bool has_chunks() const { return words() != nullptr && word_bytes() == 1; }
  // The bytes of all panels of a unit, chunk by chunk, row * 4 + column in a chunk: what products of bytes multiply
  // from cache. scratch: kExpandScratchBytes at a 64-byte boundary. out: as many chunks and kChunksSlack bytes more.
  virtual void decode_chunks(int64_t unit, uint8_t* scratch, uint8_t* out) const;

  // The operators of the same names (operators.hpp).
  virtual void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements,
                             uint8_t* out, int threads) const = 0;
  virtual uint32_t access(int64_t matrix, int64_t row, int64_t column) const = 0;
  virtual int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const = 0;

  // y = x w^T, or x w where `transposed`, for one matrix with a product of floats. Throws std::invalid_argument for
  // others.
  void multiply(const Operand& x, const Epilogue& y, int threads, bool transposed) const;

  // Products of integers; of kNibbles, x has two numbers for each byte of a row, and `is_signed` says how halves
  // are meant. False, with nothing written, where x holds an infinity or a NaN, or kernels do not know these numbers.
  // Throws std::invalid_argument where there is no such product.
  virtual bool multiply_integers(const IntegerRows& rows, int threads) const;
  virtual bool multiply_nibbles(const IntegerRows& rows, bool is_signed, int threads) const;

  // One matrix of a stack, or rows [first, last) of a matrix that is stored by rows, borrowing what this one borrows
  // and what it holds; null where these are no whole units, or the formulation has no parts.
  virtual std::unique_ptr<CodedMatrix> part(int64_t /*matrix*/, int64_t /*first*/, int64_t /*last*/) const {
    return nullptr;
  }

  // The product behind `multiply`: x and y are checked, x has whole rows, and there are sums to write.
  virtual void multiply_rows(const Rows& rows, int threads, bool transposed) const;
};

}  // namespace tersely
