// What kernels of quantised networks see: values of one byte, 16 channels of a pixel side by side.
//
// A byte is uint8; int8 is kept with its highest bit inverted, 128 added to its zero point, so that order and
// differences are what they were. Sums are exact integers of 32 bits, and what is made of them by floats is the same
// operations in the same order on every instruction set: results have the same bits on all of them.
#pragma once

#include <cstdint>

#include "tersely/backends/cpu/kernels/convolution.hpp"

namespace tersely {

// What becomes of a sum: the nearest integer, ties to even, of sum x scale, from `low` to `high`; then + zero.
// low, high: integers; zero + low is 0 at least, zero + high 255 at most.
struct Requantisation {
  const float* scale;  // [panels x 16], finite
  float low, high;
  int32_t zero;
};

// Weights of one or two panels against many pixels, as in ConvolutionBlock; columns in groups of four channels of one
// tap, which a pixel has side by side.
struct QuantisedBlock {
  const int8_t* weights;  // [panel][group][16 outputs][4 columns]
  int64_t panel_stride;
  int panels;              // 1 or 2
  const int32_t* offsets;  // of each run of groups from a pixel's x, in bytes
  int64_t runs, run;       // groups are runs x run
  const uint8_t* x;
  const int32_t* start;  // [panels x 16]: what sums begin with
  Requantisation to;
  uint8_t* y;  // null: floats are written
  int64_t y_panel_stride;
  // Least of `high` and greatest of `low` and sum x scale, where y is null.
  float* floats;
};
// places.x in bytes, places.y in numbers; places.residual is not read. Memory of y may not be that of x.
using ConvolveQuantised = void (*)(const QuantisedBlock& block, const PixelPlaces& places, int64_t pixels);

// 16 channels, each with taps of its own, along one row of the image: see DepthwiseRow.
struct QuantisedDepthwiseRow {
  const int32_t* weights;  // [rows][columns][16], each fits 16 bits
  int64_t rows, columns;   // of taps
  const uint8_t* x;
  int64_t x_step, x_row, x_column;  // bytes
  const int32_t* start;             // [16]
  Requantisation to;
};

// Sums of two values' numbers: x scale + z scale, each (number - zero) x scale, divided by y's scale.
struct QuantisedSum {
  int32_t x_zero, z_zero;
  float x_scale, z_scale;
  float y_scale;
  float low, high;
  int32_t zero;
};

// rows x columns pixels, rows `row` bytes apart, columns `column`; at least one of each, at most 2^23 in all.
struct QuantisedWindow {
  const uint8_t* x;
  int64_t row, column, rows, columns;
};

struct QuantisedKernels {
  ConvolveQuantised convolve;
  // Chunks of weights from column x 16 + row to row x 4 + column: the inverse of TurnChunks.
  void (*turn_columns)(const uint8_t* chunks, int64_t count, uint8_t* out);
  void (*depthwise)(const QuantisedDepthwiseRow& row, uint8_t* y, int64_t pixels);
  // y = x / scale to the nearest integer, ties to even, + zero, from 0 to 255; NaN becomes 0. Elsewhere in this table
  // numbers are finite.
  void (*quantise)(const float* x, int64_t count, float scale, int32_t zero, uint8_t* y);
  // y = (x - zero) x scale.
  void (*dequantise)(const uint8_t* x, int64_t count, float scale, int32_t zero, float* y);
  void (*add)(const uint8_t* x, const uint8_t* z, int64_t count, const QuantisedSum& sum, uint8_t* y);
  void (*look_up)(const uint8_t* x, int64_t count, const uint8_t* table, uint8_t* y);
  // Of 16 channels.
  void (*greatest)(const QuantisedWindow& window, uint8_t* y);
  // What becomes of the sums of 16 channels + start.
  void (*mean)(const QuantisedWindow& window, int32_t start, const Requantisation& to, uint8_t* y);
};

}  // namespace tersely
