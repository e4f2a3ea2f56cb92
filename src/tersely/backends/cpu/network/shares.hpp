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

// What weights are walked by: all items but the last have as many panels.
struct Items {
  int64_t count, panels, each;

  // Of the items of `shares` shares, one share after another, before the first `index` of them.
  int64_t panels_before(int64_t index) const { return index / count * panels + std::min(panels, index % count * each); }
  // Panels of the worker that has most, where each takes a range of these items.
  int64_t busiest(int64_t shares, int64_t threads) const {
    const int64_t all = count * shares;
    if (shares % threads == 0) return panels * (shares / threads);
    if (count * each == panels) return ceil_div(all, threads) * each;
    int64_t most = 0;
    for (int64_t worker = 0; worker < threads; ++worker)
      most = std::max(most, panels_before(all * (worker + 1) / threads) - panels_before(all * worker / threads));
    return most;
  }
};

// Into how many shares of pixels each item's work is divided, so that workers finish at the same time though there are
// few items, or a last one of few panels; each item is decoded anew for every share. As many as workers, or some for
// each: shares are theirs.
inline int64_t shares_of(const Items& items, int64_t pixels, int64_t images, int64_t threads) {
  if (threads == 1) return 1;
  const int64_t wanted = ceil_div(8 * threads, items.count * images);
  const int64_t begin = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, pixels / kManyPixels));
  const int64_t end = std::min(pixels, begin + 2 * threads);
  int64_t best = begin, least = std::numeric_limits<int64_t>::max();
  for (int64_t shares = begin; shares <= end; ++shares) {
    const int64_t work = items.busiest(shares, threads) * (ceil_div(pixels, shares) * images + kDecodePixels);
    const int64_t time = work * kOwn + (shares % threads == 0 ? 0 : work);
    if (time < least) best = shares, least = time;
  }
  return best;
}

}  // namespace tersely
