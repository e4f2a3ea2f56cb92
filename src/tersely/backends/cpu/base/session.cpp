// See session.hpp.
#include "tersely/backends/cpu/base/session.hpp"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <thread>

#include "tersely/backends/cpu/base/team.hpp"

namespace tersely {
namespace {

thread_local Session* current = nullptr;
thread_local int number = 0;

// About a millisecond: longer than workers wait for the last item of a step, shorter than what neighbours notice.
constexpr int kLooks = 40'000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Session* Session::current() { return tersely::current; }
int Session::worker() { return number; }

void Session::run(int threads, void (*body)(void*), void* context) {
  body_ = body, context_ = context, floats_ = floats_here();
  state_.store(kSeat * static_cast<uint64_t>(std::clamp(threads - 1, 0, 0x7fff)));
  call();
  struct Closing {  // an exception must not leave workers with a body that is gone
    Session& session;
    ~Closing() { session.wait_until_empty(); }
  } closing{*this};
  const InsideRegion inside;
  body(context);
}

// A worker counts itself before it looks at state_ for the last time, so one of the two sees the other.
void Session::call() {
  calls_.fetch_add(1);
  if (sleepers_.load() != 0) calls_.notify_all();
}

void Session::wait_until_empty() {
  if ((state_.fetch_and(kInside, std::memory_order_acq_rel) & kInside) == 0) return;
  const int64_t begin = nanoseconds(CLOCK_MONOTONIC);
  for (int i = 0; (state_.load(std::memory_order_acquire) & kInside) != 0; ++i)
    i < kLooks ? pause() : std::this_thread::yield();
  waited_ns_ += nanoseconds(CLOCK_MONOTONIC) - begin;
}

bool Session::take_seat(int64_t& slept_ns) {
  for (int i = 0;;) {
    uint64_t state = state_.load(std::memory_order_acquire);
    if ((state & kClosed) != 0) return false;
    if (state >= kSeat) {
      if (state_.compare_exchange_weak(state, state - kSeat + 1, std::memory_order_acq_rel)) return true;
    } else if (++i < kLooks) {
      pause();
    } else {
      sleepers_.fetch_add(1);
      const uint32_t seen = calls_.load();
      const int64_t begin = nanoseconds(CLOCK_MONOTONIC);
      if (state_.load() < kSeat) calls_.wait(seen);
      slept_ns += nanoseconds(CLOCK_MONOTONIC) - begin;
      sleepers_.fetch_sub(1);
      i = 0;
    }
  }
}

void Session::work() {
  const InsideRegion inside;
  const int64_t begin = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
  int64_t looked_ns = 0, slept_ns = 0;
  number = 1 + numbers_.fetch_add(1, std::memory_order_relaxed);
  for (;;) {
    const int64_t look = nanoseconds(CLOCK_MONOTONIC);
    const bool seated = take_seat(slept_ns);
    looked_ns += nanoseconds(CLOCK_MONOTONIC) - look;
    if (!seated) break;
    {
      const Floats floats(floats_);
      body_(context_);
    }
    state_.fetch_sub(1, std::memory_order_acq_rel);
  }
  number = 0;
  // Looking takes a processor, but is no work. A worker that had none meanwhile seems to have worked less than it did:
  // that is a loss, as it is one.
  work_ns_.fetch_add(nanoseconds(CLOCK_THREAD_CPUTIME_ID) - begin - (looked_ns - slept_ns), std::memory_order_relaxed);
}

void Session::close() {
  state_.store(kClosed);
  call();
}

namespace {

struct Opening {
  Session session;
  void (*body)(void*);
  void* context;
  pthread_t caller;
  int cpu;
  std::exception_ptr thrown;

  void lead() {
    current = &session;
    try {
      body(context);
    } catch (...) {  // not through a team's frames
      thrown = std::current_exception();
    }
    current = nullptr;
    session.close();
  }
};

}  // namespace

void run_session(int threads, void (*body)(void*), void* context) {
  const bool alone = threads <= 1 || InsideRegion::here() || current != nullptr;
  const int team = alone ? 1 : accounts().team(threads);
  if (team <= 1) return body(context);
  const int64_t begin = nanoseconds(CLOCK_MONOTONIC);
  Opening opening{{}, body, context, pthread_self(), this_cpu(), nullptr};
  call_team(
      team,
      [](void* opaque) {
        auto* o = static_cast<Opening*>(opaque);
        const bool caller = pthread_equal(pthread_self(), o->caller) != 0;
        if (caller) return o->lead();
        make_way(o->cpu, false);
        o->session.work();
      },
      &opening);
  const int64_t wall = nanoseconds(CLOCK_MONOTONIC) - begin;
  accounts().settle(threads, team, wall, wall - opening.session.waited_ns() + opening.session.work_ns());
  if (opening.thrown) std::rethrow_exception(opening.thrown);
}

}  // namespace tersely
