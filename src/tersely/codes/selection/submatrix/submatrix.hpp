// The formulation `submatrix`: the rows and columns of a matrix that hold anything, as a matrix of their own under
// another formulation. FORMAT: docs/FORMAT.md, "Submatrix".
#pragma once

#include "tersely/backends/cpu/matrix/coded_matrix.hpp"

namespace tersely {

struct SubmatrixView {
  Geometry geometry;        // of the tensor, which is one matrix
  const CodedMatrix* kept;  // stored by rows
  const int64_t* rows;      // of the tensor, by row of `kept`, ascending
  const int64_t* columns;   // likewise
};

void submatrix_decode_window(const SubmatrixView& view, int64_t first_panel, int64_t last_panel, int64_t first_element,
                             int64_t elements, uint8_t* out, int threads);
uint32_t submatrix_access(const SubmatrixView& view, int64_t row, int64_t column);
int64_t submatrix_pick_rows(const SubmatrixView& view, const int64_t* wanted, int64_t count, uint8_t* out, int threads);
// y = x w^T, or x w where `transposed`: the product of what is kept, between picking from x and placing in y.
void submatrix_linear(const SubmatrixView& view, const Rows& rows, int threads, bool transposed);
// As `multiply_integers` of what is kept, which it must have.
bool submatrix_integer_linear(const SubmatrixView& view, const IntegerRows& rows, int threads);

}  // namespace tersely
