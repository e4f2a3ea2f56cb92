// See submatrix.hpp.
#include "tersely/codes/selection/submatrix/submatrix.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/rows.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/words/integer/slices.hpp"

namespace tersely {
namespace {

// Which of `count` ascending indices is `wanted`, or -1.
int64_t find(const int64_t* indices, int64_t count, int64_t wanted) {
  const int64_t* found = std::lower_bound(indices, indices + count, wanted);
  return found != indices + count && *found == wanted ? found - indices : -1;
}

// Rows of `kept` that are decoded at a time: gaps have windows of 256 rows, which begin anew at multiples of them.
constexpr int64_t kDecodedRows = 256;

template <class Word>
void decode(const SubmatrixView& v, int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements,
            uint8_t* out, int threads) {
  const Geometry& g = v.geometry;
  const Geometry& k = v.kept->geometry();
  clear(out, elements * static_cast<int64_t>(sizeof(Word)), threads);
  auto* to = reinterpret_cast<Word*>(out);
  const int64_t* end = v.rows + k.rows;
  const int64_t first = std::lower_bound(v.rows, end, first_panel * kPanelRows) - v.rows;
  const int64_t last = std::lower_bound(v.rows, end, last_panel * kPanelRows) - v.rows;
  if (first == last) return;
  const int64_t step = ceil_div(k.panels_per_unit * kPanelRows, kDecodedRows) * kDecodedRows;
  parallel_for(threads, ceil_div(last, step) - first / step, [&](int64_t index) {
    static thread_local Scratch scratch;
    const int64_t block = (first / step + index) * step;
    const int64_t begin = std::max(block, first / kPanelRows * kPanelRows);
    const int64_t stop = std::min({block + step, ceil_div(last, kPanelRows) * kPanelRows, k.rows});
    const int64_t count = (stop - begin) * k.columns;
    auto* words = scratch.get<Word>(count * static_cast<int64_t>(sizeof(Word)));
    v.kept->decode_window(begin / kPanelRows, ceil_div(stop, kPanelRows), begin * k.columns, count,
                          reinterpret_cast<uint8_t*>(words), 1);
    for (int64_t row = std::max(begin, first); row < std::min(stop, last); ++row) {
      const int64_t base = v.rows[row] * g.row_stride - first_element;
      const Word* from = words + (row - begin) * k.columns;
      for (int64_t column = 0; column < k.columns; ++column) {
        const int64_t position = base + column_offset(g, v.columns[column]);
        if (position >= 0 && position < elements) to[position] = from[column];
      }
    }
  });
}

template <class Word>
void pick(const SubmatrixView& v, const int64_t* wanted, int64_t count, Word* out, int threads) {
  const int64_t columns = v.geometry.columns, own = v.kept->geometry().columns;
  clear(reinterpret_cast<uint8_t*>(out), count * columns * static_cast<int64_t>(sizeof(Word)), threads);
  std::vector<int64_t> rows, indices;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = find(v.rows, v.kept->geometry().rows, wanted[i]);
    if (row < 0) continue;
    rows.push_back(row);
    indices.push_back(i);
  }
  constexpr int64_t kAtOnce = 1024;
  static thread_local Scratch scratch;
  const auto found = static_cast<int64_t>(rows.size());
  for (int64_t first = 0; first < found; first += kAtOnce) {
    const int64_t some = std::min(kAtOnce, found - first);
    auto* words = scratch.get<Word>(some * own * static_cast<int64_t>(sizeof(Word)));
    v.kept->pick(rows.data() + first, some, reinterpret_cast<uint8_t*>(words), threads);
    for (int64_t i = 0; i < some; ++i) {
      Word* to = out + indices[static_cast<size_t>(first + i)] * columns;
      for (int64_t column = 0; column < own; ++column) to[v.columns[column]] = words[i * own + column];
    }
  }
}

template <class Word>
const void* picked_columns(const Rows& rows, const int64_t* from, int64_t count, int threads) {
  static thread_local Scratch memory;
  auto* picked = memory.get<Word>(rows.batch * count * static_cast<int64_t>(sizeof(Word)));
  // Workers see their own thread's memory by that name, so all they use is named here.
  parallel_for(threads, rows.batch, [=, &rows](int64_t b) {
    const auto* x = static_cast<const Word*>(rows.row(b));
    for (int64_t i = 0; i < count; ++i) picked[b * count + i] = x[from[i]];
  });
  return picked;
}

// An operand [rows] by kept row.
template <class T>
const T* by_kept_row(const SubmatrixView& v, const T* operand, Scratch& scratch) {
  const int64_t count = v.kept->geometry().rows;
  auto* out = scratch.get<T>(count * static_cast<int64_t>(sizeof(T)));
  for (int64_t i = 0; i < count; ++i) out[i] = operand[v.rows[i]];
  return out;
}

// Results of kept rows go to their places, and rows that are left out, all zeros, have what their zero points make of
// the sum of x. own: rows by kept row, whose results are there.
template <class Out>
void place_integers(const SubmatrixView& v, const IntegerRows& rows, const IntegerRows& own, int threads) {
  const int64_t outer = v.geometry.rows, count = v.kept->geometry().rows;
  parallel_for(threads, rows.batch, [&v, &rows, &own, outer, count](int64_t b) {
    const Out* from = static_cast<const Out*>(own.out) + b * count;
    Out* to = static_cast<Out*>(rows.out) + b * outer;
    for (int64_t row = 0, next = 0; row < outer; ++row) {
      if (next < count && v.rows[next] == row) {
        to[row] = from[next++];
      } else {
        store(rows, row, b * outer + row, -int64_t{rows.zero[row * rows.zero_step]} * own.x_sums[b], own.x_units[b]);
      }
    }
  });
}

// A number as a word of a result.
template <class Word>
Word rounded(DType dtype, float value) {
  if constexpr (sizeof(Word) == 4) return std::bit_cast<Word>(value);
  return dtype == DType::kBfloat16 ? float_to_bfloat16(value) : float_to_float16(value);
}

// Results of what is kept with their own bias, rounded once, between those of the bias alone. rows: of what is kept,
// but for y.
template <class Word>
void multiply_plain(const SubmatrixView& v, const Rows& rows, const int64_t* to, int64_t outer, int threads, int moving,
                    bool transposed) {
  static thread_local Scratch out_memory, bias_memory;
  const int64_t own_outer = transposed ? v.kept->geometry().columns : v.kept->geometry().rows;
  auto* results = out_memory.get<Word>(rows.batch * own_outer * static_cast<int64_t>(sizeof(Word)));
  Epilogue own{rows.dtype, results, own_outer};
  if (rows.y.bias != nullptr) {
    auto* bias = bias_memory.get<float>(own_outer * static_cast<int64_t>(sizeof(float)));
    for (int64_t i = 0; i < own_outer; ++i) bias[i] = rows.y.bias[to[i]];
    own.bias = bias;
  }
  v.kept->multiply_rows({rows.dtype, rows.batch, rows.x, rows.x_stride, own, true}, threads, transposed);
  // Workers see their own thread's memory by that name, so all they use is named here.
  parallel_for(moving, rows.batch, [=, &rows](int64_t row) {
    Word* line = static_cast<Word*>(rows.y.out) + row * rows.y.row_stride;
    if (rows.y.bias == nullptr) {
      std::fill_n(line, outer, Word{0});
    } else {
      for (int64_t i = 0; i < outer; ++i) line[i] = rounded<Word>(rows.dtype, rows.y.bias[i]);
    }
    for (int64_t i = 0; i < own_outer; ++i) line[to[i]] = results[row * own_outer + i];
  });
}

}  // namespace

void submatrix_decode_window(const SubmatrixView& view, int64_t first_panel, int64_t last_panel, int64_t first_element,
                             int64_t elements, uint8_t* out, int threads) {
  switch (view.kept->word_bytes()) {
    case 4:
      return decode<uint32_t>(view, first_panel, last_panel, first_element, elements, out, threads);
    case 2:
      return decode<uint16_t>(view, first_panel, last_panel, first_element, elements, out, threads);
    default:
      decode<uint8_t>(view, first_panel, last_panel, first_element, elements, out, threads);
  }
}

uint32_t submatrix_access(const SubmatrixView& view, int64_t row, int64_t column) {
  const Geometry& k = view.kept->geometry();
  const int64_t own_row = find(view.rows, k.rows, row), own_column = find(view.columns, k.columns, column);
  return own_row < 0 || own_column < 0 ? 0 : view.kept->access(0, own_row, own_column);
}

int64_t submatrix_pick_rows(const SubmatrixView& view, const int64_t* wanted, int64_t count, uint8_t* out,
                            int threads) {
  for (int64_t i = 0; i < count; ++i)
    if (wanted[i] < 0 || wanted[i] >= view.geometry.rows) return i;
  switch (view.kept->word_bytes()) {
    case 4:
      pick(view, wanted, count, reinterpret_cast<uint32_t*>(out), threads);
      break;
    case 2:
      pick(view, wanted, count, reinterpret_cast<uint16_t*>(out), threads);
      break;
    default:
      pick(view, wanted, count, out, threads);
  }
  return -1;
}

void submatrix_linear(const SubmatrixView& v, const Rows& rows, int threads, bool transposed) {
  const Geometry& g = v.geometry;
  const Geometry& k = v.kept->geometry();
  const int64_t inner = transposed ? g.rows : g.columns, outer = transposed ? g.columns : g.rows;
  const int64_t own_inner = transposed ? k.rows : k.columns, own_outer = transposed ? k.columns : k.rows;
  const int64_t* from = transposed ? v.rows : v.columns;
  const int64_t* to = transposed ? v.columns : v.rows;
  static thread_local Scratch sums_memory;
  const int moving = workers_worth_waking(threads, rows.batch * (own_inner + own_outer));
  const void* x = rows.x;
  int64_t x_stride = rows.x_stride;
  if (own_inner < inner) {
    x = (rows.dtype == DType::kFloat32 ? picked_columns<uint32_t> : picked_columns<uint16_t>)(rows, from, own_inner,
                                                                                              moving);
    x_stride = own_inner;
  }
  if (own_outer == outer)
    return v.kept->multiply_rows({rows.dtype, rows.batch, x, x_stride, rows.y, rows.plain}, threads, transposed);
  if (rows.plain) {
    const Rows own{rows.dtype, rows.batch, x, x_stride, rows.y, true};
    return (rows.dtype == DType::kFloat32 ? multiply_plain<uint32_t>
                                          : multiply_plain<uint16_t>)(v, own, to, outer, threads, moving, transposed);
  }
  auto* sums = sums_memory.get<float>(rows.batch * (own_outer + outer) * 4);
  float* spread = sums + rows.batch * own_outer;
  const Epilogue own{DType::kFloat32, sums, own_outer};
  v.kept->multiply_rows({rows.dtype, rows.batch, x, x_stride, own, rows.dtype == DType::kFloat32}, threads, transposed);
  parallel_for(moving, rows.batch, [=, &rows](int64_t b) {
    float* line = spread + b * outer;
    std::fill_n(line, outer, 0.0F);
    for (int64_t i = 0; i < own_outer; ++i) line[to[i]] = sums[b * own_outer + i];
    finish_row(rows, b, 0, outer, line);
  });
}

bool submatrix_integer_linear(const SubmatrixView& v, const IntegerRows& rows, int threads) {
  const Geometry& g = v.geometry;
  const Geometry& k = v.kept->geometry();
  IntegerRows own = rows;
  if (k.columns < g.columns) {
    own.picked = v.columns;
    own.x_columns = g.columns;
  }
  if (k.rows == g.rows) return v.kept->multiply_integers(own, threads);
  static thread_local Scratch out_memory, x_memory, scale_memory, zero_memory, bias_memory;
  const int64_t out_bytes = rows.is_int8 || rows.dtype == DType::kFloat32 ? 4 : 2;
  own.out = out_memory.get<uint8_t>(rows.batch * k.rows * out_bytes);
  own.x_sums = x_memory.get<int64_t>(rows.batch * 16);
  own.x_units = reinterpret_cast<double*>(own.x_sums + rows.batch);
  if (rows.scale_step != 0) own.scale = by_kept_row(v, rows.scale, scale_memory);
  if (rows.zero_step != 0) own.zero = by_kept_row(v, rows.zero, zero_memory);
  if (rows.bias != nullptr && rows.is_int8)
    own.bias = by_kept_row(v, static_cast<const int32_t*>(rows.bias), bias_memory);
  if (rows.bias != nullptr && !rows.is_int8)
    own.bias = by_kept_row(v, static_cast<const float*>(rows.bias), bias_memory);
  if (!v.kept->multiply_integers(own, threads)) return false;
  const int moving = workers_worth_waking(threads, rows.batch * g.rows);
  (out_bytes == 4 ? place_integers<uint32_t> : place_integers<uint16_t>)(v, rows, own, moving);
  return true;
}

}  // namespace tersely
