// What the kernel of convolutions sees: decoded weights of one or two panels against many pixels.
//
// A convolution is a product of each panel (16 outputs x columns) and each pixel, where the columns of x that belong to
// a pixel lie in runs, each at a constant distance from it: rows of the image under the taps, blocks of 16 channels. So
// no pixel is ever copied to another place, and whatever a run is - channels of one tap, taps of a row - is data.
// A. Heinecke et al., "Anatomy of high-performance deep learning convolutions on SIMD architectures", 2018,
// doi:10.1109/SC.2018.00069.
#pragma once

#include <cstdint>

namespace tersely {

// Where pixels lie, in floats from the beginning of a tensor; one of each for every pixel.
struct PixelPlaces {
  const int32_t* x;
  const int32_t* y;
  const int32_t* residual;
};

// One block of columns. Sums are float32, 16 outputs of a pixel side by side.
struct ConvolutionBlock {
  const float* weights;  // [panel][column][16]
  int64_t panel_stride;
  int panels;              // 1 or 2
  const int32_t* offsets;  // of each run from a pixel's x
  int64_t runs, run;       // columns are runs x run
  const float* x;
  float* y;
  int64_t y_panel_stride;
  bool first;          // sums begin at zero; else with what y holds
  bool last;           // then y = least of `high` and greatest of `low` and (sum x scale + shift + residual); NaN stays
  const float* scale;  // [panels x 16]; null: 1
  const float* shift;  // [panels x 16]; null: 0
  const float* residual;  // null: 0
  int64_t residual_panel_stride;
  float low, high;
};
// How many runs ahead kernels ask for x: a run of 16 columns takes 100 to 200 cycles, about as long as a line from the
// third cache, and a processor looks ahead for about one run by itself. MEASURED on Zen 5, AVX-512, two threads, in
// turns: 3072 columns x 1584 pixels (19 MB of x) 34 and 22 ms; whole networks with one image 0.90 to 0.97 of the time.
constexpr int kAheadRuns = 2;
// Memory of y may not be that of x or the residual.
using Convolve = void (*)(const ConvolutionBlock& block, const PixelPlaces& places, int64_t pixels);

// The first pixels of a block of columns of two panels, which are multiplied while its weights are decoded: a processor
// decodes with other units than it multiplies with, and either waits for the other where one follows the other.
constexpr int kEarlyPixels = 8;
struct EarlyPixels {
  const float* x;
  const int32_t* x_at;     // [kEarlyPixels]
  const int32_t* offsets;  // as of ConvolutionBlock, whose run is a multiple of 4 here
  int64_t run;
  float* y;  // [16] sums of each pixel, not finished
  int64_t y_panel_stride;
  const int32_t* y_at;
  bool first;  // sums begin at zero; else with what y holds
};

}  // namespace tersely
