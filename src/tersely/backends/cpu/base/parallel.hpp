// Workers for one short parallel region at a time: borrowed from the OpenMP pool that is already in the process, else
// our own, which sleep.
//
// Why so: a second spinning pool beside torch's starves both (8 ms stalls were measured). After `import torch`
// GOMP_parallel is visible to dlsym; a team of that pool costs about 2 us, but ends when its last worker has come and
// gone, and beside a busy neighbour that takes milliseconds. Accounts are kept (account.hpp), and a team that loses
// time is not called. A team may be smaller than asked, so work must be drawn from a shared counter, never by number.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tersely/backends/cpu/base/session.hpp"

namespace tersely {

// Calls body(context) on up to `threads` workers at once, the caller among them; returns when all that came have
// returned. Alone inside another parallel region of ours, where threads is 1, and where a team would lose time.
// Workers have the caller's floating-point environment (floats.hpp).
void run_parallel(int threads, void (*body)(void*), void* context);

// How many of `threads` workers are worth waking for a region that one worker would finish in work_ns nanoseconds.
int workers_worth_waking(int threads, int64_t work_ns);

// Whose workers the next region would use: "OpenMP pool of the process" or "own sleeping pool".
const char* parallel_pool_name();

// Draws items 0..count-1 and calls f(item) for each, on up to `threads` workers. Neighbours are drawn a few at a time,
// so that what a kernel prefetches beyond its item is mostly its own next one, and the last draws are still small.
// Each worker that finds an item holds what enter() returns from before its first one until it leaves the region.
template <class Enter, class F>
void parallel_for_inside(int threads, int64_t count, Enter&& enter, F&& f) {
  if (threads <= 1 || count <= 1) {
    [[maybe_unused]] const auto held = enter();
    for (int64_t item = 0; item < count; ++item) f(item);
    return;
  }
  struct Context {
    std::remove_reference_t<Enter>* enter;
    std::remove_reference_t<F>* f;
    int64_t count, grain;
    std::atomic<int64_t> next{0};
  } context{&enter, &f, count, count / (threads * int64_t{16}) + 1};
  run_parallel(
      threads < count ? threads : static_cast<int>(count),
      [](void* opaque) {
        auto* c = static_cast<Context*>(opaque);
        const auto draw = [c] { return c->next.fetch_add(c->grain, std::memory_order_relaxed); };
        int64_t first = draw();
        if (first >= c->count) return;
        [[maybe_unused]] const auto held = (*c->enter)();
        for (; first < c->count; first = draw())
          for (int64_t item = first; item < first + c->grain && item < c->count; ++item) (*c->f)(item);
      },
      &context);
}

template <class F>
void parallel_for(int threads, int64_t count, F&& f) {
  struct Nothing {};
  parallel_for_inside(threads, count, [] { return Nothing{}; }, f);
}

// Into which ranges parallel_for_ranges divides a count.
class Ranges {
 public:
  Ranges(int threads, int64_t count)
      : count_(count), ranges_(static_cast<int>(std::max<int64_t>(1, std::min<int64_t>({threads, count, kMax})))) {}
  static constexpr int kMax = 32;
  int count() const { return ranges_; }
  // The first item of a range, or of a worker's; of the one behind the last, the count.
  int64_t first(int range) const { return count_ * range / ranges_; }
  // Whether a range begins with an item.
  bool begins(int64_t item) const { return item < count_ && (item == 0 || ends(item)); }
  // Whether a range ends before an item.
  bool ends(int64_t item) const {
    for (int range = 1; range <= ranges_; ++range)
      if (first(range) == item) return true;
    return false;
  }

 private:
  int64_t count_;
  int ranges_;
};

// The same for steps that follow each other on the same data: in a session, each worker begins with a range of its own,
// the same part of the count at every step, and draws from the others' when its own is done. So what a step reads has
// mostly been written by the same worker, and lies in its cache. Elsewhere all begin with the first range.
template <class F>
void parallel_for_ranges(int threads, int64_t count, F&& f) {
  if (threads <= 1 || count <= 1) {
    for (int64_t item = 0; item < count; ++item) f(item);
    return;
  }
  struct alignas(64) Range {
    std::atomic<int64_t> next;
    int64_t end;
  };
  struct Context {
    std::remove_reference_t<F>* f;
    int ranges;
    int64_t grain;
    Range range[Ranges::kMax];
  } context;
  const Ranges shared(threads, count);
  const int ranges = shared.count();
  context.f = &f, context.ranges = ranges, context.grain = count / (ranges * int64_t{16}) + 1;
  for (int r = 0; r < ranges; ++r) context.range[r].next = shared.first(r), context.range[r].end = shared.first(r + 1);
  run_parallel(
      ranges,
      [](void* opaque) {
        auto* c = static_cast<Context*>(opaque);
        for (int i = 0; i < c->ranges; ++i) {
          Range& range = c->range[(Session::worker() + i) % c->ranges];
          while (range.next.load(std::memory_order_relaxed) < range.end) {
            const int64_t first = range.next.fetch_add(c->grain, std::memory_order_relaxed);
            const int64_t end = std::min(first + c->grain, range.end);
            for (int64_t item = first; item < end; ++item) (*c->f)(item);
          }
        }
      },
      &context);
}

// Zeros, for decoders that write only what is not zero.
inline void clear(uint8_t* out, int64_t bytes, int threads) {
  constexpr int64_t kBlock = 1 << 18;
  parallel_for(threads, (bytes + kBlock - 1) / kBlock, [&](int64_t block) {
    std::memset(out + block * kBlock, 0, static_cast<size_t>(std::min(kBlock, bytes - block * kBlock)));
  });
}

}  // namespace tersely
