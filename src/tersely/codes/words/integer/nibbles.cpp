// See nibbles.hpp.
#include "tersely/codes/words/integer/nibbles.hpp"

#include <stdexcept>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/words/integer/integer.hpp"

namespace tersely {

// Of a value that a damaged file holds, the low four bits count.
void NibbleMatrix::put_together(const uint8_t* values, int64_t count, uint8_t* out) const {
  const uint8_t flip = flip_;
  for (int64_t i = 0; i < count; ++i)
    out[i] = static_cast<uint8_t>(((values[2 * i] ^ flip) & 15) | (values[2 * i + 1] ^ flip) << 4);
}

void NibbleMatrix::decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements,
                                 uint8_t* out, int threads) const {
  const Geometry& g = values_->geometry();
  if (folded_) {
    first_panel = 0;
    last_panel = g.panels;
  }
  std::vector<uint8_t> values(static_cast<size_t>(elements) * 2);
  values_->decode_window(first_panel, last_panel, first_element * 2, elements * 2, values.data(), threads);
  constexpr int64_t kBlock = 1 << 16;
  parallel_for(threads, ceil_div(elements, kBlock), [&](int64_t block) {
    const int64_t first = block * kBlock;
    put_together(values.data() + first * 2, std::min(kBlock, elements - first), out + first);
  });
}

uint32_t NibbleMatrix::access(int64_t matrix, int64_t row, int64_t column) const {
  uint32_t halves[2];
  for (int64_t half = 0; half < 2; ++half) {
    int64_t own_row = row, own_column = 2 * column + half;
    if (folded_) {
      const int64_t position = 2 * (row * geometry_.columns + column) + half, columns = values_->geometry().columns;
      own_row = position / columns;
      own_column = position % columns;
    }
    halves[half] = (values_->access(matrix, own_row, own_column) ^ flip_) & 15;
  }
  return halves[0] | halves[1] << 4;
}

int64_t NibbleMatrix::pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const {
  const int64_t columns = geometry_.columns;
  constexpr int64_t kAtOnce = 256;
  std::vector<uint8_t> values(static_cast<size_t>(std::min(count, kAtOnce) * columns) * 2);
  for (int64_t i = 0; i < count; ++i)
    if (wanted[i] < 0 || wanted[i] >= geometry_.rows) return i;
  for (int64_t first = 0; first < count; first += kAtOnce) {
    const int64_t some = std::min(kAtOnce, count - first);
    values_->pick(wanted + first, some, values.data(), threads);
    put_together(values.data(), some * columns, out + first * columns);
  }
  return -1;
}

bool NibbleMatrix::multiply_nibbles(const IntegerRows& rows, bool is_signed, int threads) const {
  if (products() != Products::kNibbles) throw std::invalid_argument("kernels do not multiply these 4-bit weights");
  const int64_t columns = values_->geometry().columns;
  // Fields that were counted in the other order are no integers apart from a zero.
  if (is_signed != (flip_ != 0) || (rows.groups > 1 && columns / rows.groups % kFieldBlockColumns != 0)) return false;
  IntegerRows own = rows;
  const int64_t zeros = rows.zero_group != 0 ? geometry_.rows * rows.groups : rows.zero_step != 0 ? geometry_.rows : 1;
  std::vector<int32_t> moved(rows.zero, rows.zero + zeros);
  for (int32_t& zero : moved) zero += flip_;
  own.zero = moved.data();
  return values_->multiply_integers(own, threads);
}

}  // namespace tersely
