// How images lie in memory between the operators of a network.
//
// Channels lie in blocks of 16, the rows of a panel: a product writes whole registers and the next one reads runs of
// 16 channels, so nothing is moved from one layer to the next. A halo of zeros around each image takes the place of
// padding: pixels at the edge are no case of their own.
#pragma once

#include <cstdint>

namespace tersely {

inline constexpr int64_t kChannelBlock = 16;

// Of float32. Blocked: [images][blocks][height + 2 halo][width + 2 halo][16]; else [images][channels][height + 2 halo]
// [width + 2 halo].
struct ImageLayout {
  int64_t channels, height, width, halo;
  bool blocked;

  int64_t blocks() const { return (channels + kChannelBlock - 1) / kChannelBlock; }
  int64_t row() const { return (width + 2 * halo) * (blocked ? kChannelBlock : 1); }
  // One block of channels, or one channel.
  int64_t plane() const { return row() * (height + 2 * halo); }
  int64_t floats() const { return plane() * (blocked ? blocks() : channels); }
  // Of a channel's pixel, in floats from an image's beginning; rows and columns from -halo on.
  int64_t at(int64_t channel, int64_t y, int64_t x) const {
    return blocked ? channel / kChannelBlock * plane() + (y + halo) * row() + (x + halo) * kChannelBlock +
                         channel % kChannelBlock
                   : channel * plane() + (y + halo) * row() + x + halo;
  }
  int64_t pixel_floats() const { return blocked ? kChannelBlock : 1; }
};

}  // namespace tersely
