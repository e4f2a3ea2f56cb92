// Workers of our own, which sleep between regions. A caller does all the work that no worker has begun by itself, and
// waits for those alone that are at it; callers do not wait for each other.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace tersely {

class Pool {
 public:
  // Calls body(context) here and on up to threads - 1 workers that come before the call here returns.
  void run(int threads, void (*body)(void*), void* context);

 private:
  // A region is open while it has seats. state: seats, workers inside, and whether the caller sleeps until these leave.
  // Who has taken a seat finds the body that was put there before the seats, and holds the caller until it leaves.
  struct alignas(64) Region {
    std::atomic<bool> taken{false};
    std::atomic<uint64_t> state{0};
    void (*body)(void*) = nullptr;
    void* context = nullptr;
    std::condition_variable left;
  };
  static constexpr uint64_t kInside = 0xffff, kSeat = 0x10000, kSleeps = uint64_t{1} << 32;
  static constexpr int kMaxThreads = 0xffff;

  Region* take();
  void open(Region& region, int seats);
  void close(Region& region);
  bool work_in(Region& region);
  void hire(int workers);
  void work();

  std::array<Region, 16> regions_;
  std::atomic<uint64_t> opened_{0};  // regions so far
  std::atomic<int> sleepers_{0}, workers_{0};
  std::mutex mutex_;  // of the sleep of workers and callers, never held while anything is done
  std::condition_variable start_;
};

// The pool of this process: a forked child has another.
Pool& pool();

// Whether this process was forked from one that had tersely's threads, or could have.
bool is_forked();

}  // namespace tersely
