// The operators on a coded matrix. Views must have passed validation; all of them are safe under several threads.
#pragma once

#include "tersely/backends/cpu/matrix/operand.hpp"
#include "tersely/backends/cpu/matrix/view.hpp"

namespace tersely {

// Decodes panels [first_panel, last_panel) and writes those elements of the tensor whose row-major position lies in
// [first_element, first_element + elements) to out[position - first_element].
void decode_window(const MatrixView& view, const KernelTable& table, int64_t first_panel, int64_t last_panel,
                   int64_t first_element, int64_t elements, uint8_t* out, int threads);

// Rows of one matrix that is stored by rows, by number and in any order, to out[count][columns]. Returns the place of
// the first number out of range, having written nothing, or -1.
int64_t pick_rows(const MatrixView& view, const KernelTable& table, const int64_t* wanted, int64_t count, uint8_t* out,
                  int threads);

// One weight, found by rank: reads the planes of its segment before it, decodes nothing else.
uint32_t access(const MatrixView& view, const KernelTable& table, int64_t matrix, int64_t row, int64_t column);

// Rows of floats in and out of a product, as products take them: x by rows, y through `finish_rows` (rows.hpp) alone.
struct Rows {
  DType dtype;  // of x: float32, bfloat16 or float16
  int64_t batch;
  const void* x;  // [batch][inner]
  int64_t x_stride;
  const Epilogue& y;
  bool plain;  // y has x's dtype and nothing but a bias
  const void* row(int64_t b) const {
    return static_cast<const uint8_t*>(x) + b * x_stride * kFields[static_cast<int>(dtype)].word_bytes;
  }
};

// About how long a product takes one worker. MEASURED with AVX2, from the cache: decoding 0.1 ns a weight, each batch
// row 0.025 ns more.
int64_t product_ns(const Geometry& geometry, int64_t batch);
// Whether this product has kernels for the tiles of a matrix unit, and that product.
bool has_tiles(const MatrixView& view, const KernelTable& table, const Rows& rows);
void linear_in_tiles(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads);
// out[b][row] = sum over columns of x[b][column] * w[row][column] + bias[row]; one matrix, not folded.
void linear(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads);
// out[b][column] = sum over rows of x[b][row] * w[row][column] + bias[column].
void linear_transposed(const MatrixView& view, const KernelTable& table, const Rows& rows, int threads);

}  // namespace tersely
