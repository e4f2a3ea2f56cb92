// How the work of a convolution is shared out.
#pragma once

#include <algorithm>
#include <limits>

#include "tersely/backends/cpu/matrix/geometry.hpp"

namespace tersely {

// Shares of at least so many pixels are made for workers that come late.
inline constexpr int64_t kManyPixels = 192;
// Pixels that cost as much to multiply as their panel to decode. MEASURED (Zen 5, AVX-512): decoding for two shares of
// 198 tokens instead of one takes 4 to 8 % longer, though each is a worker's own.
inline constexpr int64_t kDecodePixels = 12;
// What a worker's own part of an image is worth to it, as a share of the work: elsewhere it reads what others have in
// their caches. MEASURED (Zen 5, cores without a common cache): some 4 % of images of 28 x 28 pixels and more.
inline constexpr int64_t kOwn = 24;

// Into how many shares of pixels each item's work is divided, so that workers finish at the same time though there are
// few items, each of which is decoded anew for every share. As many as workers, or some for each: shares are theirs.
inline int64_t shares_of(int64_t items, int64_t pixels, int64_t images, int64_t threads) {
  if (threads == 1) return 1;
  const int64_t wanted = ceil_div(8 * threads, items * images);
  const int64_t begin = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, pixels / kManyPixels));
  const int64_t end = std::min(pixels, begin + 2 * threads);
  int64_t best = begin, least = std::numeric_limits<int64_t>::max();
  for (int64_t shares = begin; shares <= end; ++shares) {
    const int64_t work = ceil_div(items * shares, threads) * (ceil_div(pixels, shares) * images + kDecodePixels);
    const int64_t time = work * kOwn + (shares % threads == 0 ? 0 : work);
    if (time < least) best = shares, least = time;
  }
  return best;
}

}  // namespace tersely
