// See pool.hpp.
#include "tersely/backends/cpu/base/pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <memory>
#include <system_error>
#include <thread>

namespace tersely {
namespace {

// Layers of a network follow each other within microseconds, waking a sleeper costs fifty: look a little while first.
template <class Done>
bool spin_until(Done&& done) {
  for (int i = 0; i < 2000; ++i) {
    if (done()) return true;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  return false;
}

// Never destroyed: its threads may outlive static destructors.
std::atomic<Pool*> own_pool{nullptr};
std::atomic<bool> forked{false};

[[maybe_unused]] const int watching_forks = pthread_atfork(nullptr, nullptr, [] {
  own_pool.store(nullptr);
  forked.store(true);
});

}  // namespace

bool is_forked() { return forked.load(std::memory_order_relaxed); }

Pool& pool() {
  Pool* current = own_pool.load();
  if (current == nullptr) {
    auto fresh = std::make_unique<Pool>();
    if (own_pool.compare_exchange_strong(current, fresh.get())) current = fresh.release();
  }
  return *current;
}

void Pool::run(int threads, void (*body)(void*), void* context) {
  threads = std::min(threads, kMaxThreads);
  Region* region = take();
  if (region == nullptr) {
    body(context);
    return;
  }
  hire(threads - 1);
  region->body = body;
  region->context = context;
  open(*region, threads - 1);
  struct Closing {  // an exception must not leave workers with a body that is gone
    Pool& pool;
    Region& region;
    ~Closing() { pool.close(region); }
  } closing{*this, *region};
  body(context);
}

Pool::Region* Pool::take() {
  for (Region& region : regions_)
    if (!region.taken.load(std::memory_order_relaxed) && !region.taken.exchange(true, std::memory_order_acquire))
      return &region;
  return nullptr;
}

void Pool::open(Region& region, int seats) {
  region.state.store(kSeat * static_cast<uint64_t>(seats), std::memory_order_release);
  opened_.fetch_add(1);
  // A worker counts itself before it looks at opened_ for the last time, so one of the two sees the other.
  const int asleep = sleepers_.load();
  if (asleep == 0) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
  }
  for (int i = 0; i < std::min(asleep, seats); ++i) start_.notify_one();
}

void Pool::close(Region& region) {
  region.state.fetch_and(kInside, std::memory_order_acq_rel);
  const auto empty = [&] { return (region.state.load(std::memory_order_acquire) & kInside) == 0; };
  if (!spin_until(empty)) {
    std::unique_lock<std::mutex> lock(mutex_);
    region.state.fetch_or(kSleeps, std::memory_order_acq_rel);
    region.left.wait(lock, empty);
  }
  region.taken.store(false, std::memory_order_release);
}

bool Pool::work_in(Region& region) {
  uint64_t state = region.state.load(std::memory_order_relaxed);
  do {
    if ((state & ~kSleeps) < kSeat) return false;
  } while (!region.state.compare_exchange_weak(state, state - kSeat + 1, std::memory_order_acq_rel,
                                               std::memory_order_relaxed));
  region.body(region.context);
  const uint64_t before = region.state.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & kSleeps) != 0 && (before & kInside) == 1) {
    std::lock_guard<std::mutex> lock(mutex_);
    region.left.notify_all();
  }
  return true;
}

// Where the system has no more threads, those that are there must do.
void Pool::hire(int workers) {
  if (workers_.load(std::memory_order_relaxed) >= workers) return;
  std::lock_guard<std::mutex> lock(mutex_);
  while (workers_.load(std::memory_order_relaxed) < workers) {
    try {
      std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
      return;
    }
    workers_.fetch_add(1, std::memory_order_relaxed);
  }
}

void Pool::work() {
  for (;;) {
    const uint64_t seen = opened_.load();
    bool worked = false;
    for (Region& region : regions_) worked |= work_in(region);
    if (worked) continue;
    const auto called = [&] { return opened_.load() != seen; };
    if (spin_until(called)) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1);
    start_.wait(lock, called);
    sleepers_.fetch_sub(1);
  }
}

}  // namespace tersely
