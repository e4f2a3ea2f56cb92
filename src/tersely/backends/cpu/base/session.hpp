// Workers that stay for a while: a network's steps follow each other within microseconds, and each is a parallel
// region.
//
// Calling a team costs microseconds each time, and which of its workers gets which item changes from step to step, so
// what one wrote is read by another through a slower cache. In a session the team is called once; between regions its
// workers look for the next one, and each has a number, by which `parallel_for_ranges` gives it the same part of every
// step.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "tersely/backends/cpu/base/floats.hpp"

namespace tersely {

class Session {
 public:
  // The session that this thread has opened and is in; null where there is none, and for workers.
  static Session* current();
  // The number of a worker in its session; 0 for whoever opened it, and outside of sessions.
  static int worker();

  // Calls body(context) here and on up to threads - 1 workers of the session that are there; returns when all have
  // left.
  void run(int threads, void (*body)(void*), void* context);

  // Of a worker, until the session is closed.
  void work();
  void close();

  int64_t waited_ns() const { return waited_ns_; }                              // by the caller for workers
  int64_t work_ns() const { return work_ns_.load(std::memory_order_relaxed); }  // of workers

 private:
  void call();
  void wait_until_empty();
  bool take_seat(int64_t& slept_ns);

  // Who has taken a seat finds the body that was put there before the seats, and holds the caller until it leaves.
  static constexpr uint64_t kInside = 0xffff, kSeat = 0x10000, kClosed = uint64_t{1} << 63;
  alignas(64) std::atomic<uint64_t> state_{0};
  void (*body_)(void*) = nullptr;
  void* context_ = nullptr;
  FloatControl floats_ = kDefaultFloats;
  alignas(64) std::atomic<uint32_t> calls_{0};  // on which workers sleep that have looked for long
  std::atomic<int> sleepers_{0}, numbers_{0};
  std::atomic<int64_t> work_ns_{0};
  int64_t waited_ns_ = 0;
};

// Calls body(context) with a session of up to `threads` workers around it, this thread among them: regions inside are
// the session's. Without one where a team would lose time, inside another session, or inside a parallel region. What
// body throws comes out when the workers have left.
void run_session(int threads, void (*body)(void*), void* context);

template <class F>
void in_session(int threads, F&& f) {
  run_session(threads, [](void* opaque) { (*static_cast<std::remove_reference_t<F>*>(opaque))(); }, &f);
}

}  // namespace tersely
