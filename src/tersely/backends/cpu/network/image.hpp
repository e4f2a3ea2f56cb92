// How images lie in memory between the operators of a network.
//
// Channels lie in blocks of 16, the rows of a panel: a product writes whole registers and the next one reads runs of
// 16 channels, so nothing is moved from one layer to the next. A halo of zeros around each image takes the place of
// padding: pixels at the edge are no case of their own.
#pragma once

#include <cstdint>

namespace tersely {

inline constexpr int64_t kChannelBlock = 16;

// Of float32. Blocked: [images][blocks][height + 2 halo][width + 2 halo][16]; together: [images][height + 2 halo]
// [width + 2 halo][channels], for images of few channels that convolutions read, whose runs are then whole rows of
// taps; else planes, [images][channels][height + 2 halo][width + 2 halo].
struct ImageLayout {
  int64_t channels, height, width, halo;
  bool blocked;
  bool together = false;  // not of a blocked one

  int64_t blocks() const { return (channels + kChannelBlock - 1) / kChannelBlock; }
  // Channels that lie side by side.
  int64_t pixel_floats() const { return blocked ? kChannelBlock : together ? channels : 1; }
  int64_t row() const { return (width + 2 * halo) * pixel_floats(); }
  // One block of channels, all channels, or one channel.
  int64_t plane() const { return row() * (height + 2 * halo); }
  int64_t planes() const { return blocked ? blocks() : together ? 1 : channels; }
  int64_t floats() const { return plane() * planes(); }
  // Of a channel's pixel, in floats from an image's beginning; rows and columns from -halo on.
  int64_t at(int64_t channel, int64_t y, int64_t x) const {
    const int64_t side = pixel_floats();
    return channel / side * plane() + (y + halo) * row() + (x + halo) * side + channel % side;
  }
};

}  // namespace tersely
