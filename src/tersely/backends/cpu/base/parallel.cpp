// See parallel.hpp.
#include "tersely/backends/cpu/base/parallel.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/base/pool.hpp"
#include "tersely/backends/cpu/base/session.hpp"
#include "tersely/backends/cpu/base/team.hpp"

namespace tersely {
namespace {

using GompParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

// Looked up at every region until found: torch may be imported after tersely. Null in a forked child: the team that the
// parent may have had is not there, and libgomp waits for it forever.
GompParallel gomp_parallel() {
  static std::atomic<GompParallel> found{nullptr};
  if (is_forked()) return nullptr;
  GompParallel pointer = found.load(std::memory_order_relaxed);
  if (pointer == nullptr) {
    static std::atomic<unsigned> calls{0};
    // A failed dlsym costs a walk over all libraries: look in the first calls, then in every 64th.
    unsigned call = calls.fetch_add(1, std::memory_order_relaxed);
    if (call < 8 || call % 64 == 0) {
      pointer = reinterpret_cast<GompParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
      if (pointer != nullptr) found.store(pointer, std::memory_order_relaxed);
    }
  }
  return pointer;
}

// A new worker, or one that has slept, begins on the caller's own core now and then, and can run there only when the
// caller does not: of a borrowed team the caller spins. The system moves it after some 60 ms, we at once.
// MEASURED on Zen 3: the first regions of a process took 8 ms each, seven of them.
void leave_cpu([[maybe_unused]] int cpu) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  cpu_set_t others = allowed;
  CPU_CLR(cpu, &others);
  if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
#endif
}

struct Guarded {
  void (*body)(void*);
  void* context;
  pthread_t caller;
  int cpu;
  FloatControl floats;
  std::atomic<int64_t> work_ns{0};
};

void guarded_body(void* opaque) {
  auto* guarded = static_cast<Guarded*>(opaque);
  make_way(guarded->cpu, pthread_equal(pthread_self(), guarded->caller) != 0);
  const Floats floats(guarded->floats);
  const int64_t start = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
  {
    const InsideRegion inside;
    guarded->body(guarded->context);
  }
  guarded->work_ns.fetch_add(nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start, std::memory_order_relaxed);
}

}  // namespace

thread_local bool InsideRegion::inside_ = false;

Accounts& accounts() {
  static Accounts kept;
  return kept;
}

int64_t nanoseconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

int this_cpu() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

void make_way(int cpu, bool is_caller) {
  if (cpu >= 0 && !is_caller && this_cpu() == cpu) leave_cpu(cpu);
}

void call_team(int team, void (*body)(void*), void* context) {
  if (GompParallel gomp = gomp_parallel()) {
    gomp(body, context, static_cast<unsigned>(team), 0);
  } else {
    pool().run(team, body, context);
  }
}

void run_parallel(int threads, void (*body)(void*), void* context) {
  if (threads <= 1 || InsideRegion::here()) {
    body(context);
    return;
  }
  if (Session* session = Session::current()) {
    session->run(threads, body, context);
    return;
  }
  const int team = accounts().team(threads);
  const int64_t start = nanoseconds(CLOCK_MONOTONIC);
  Guarded guarded{body, context, pthread_self(), this_cpu(), floats_here()};
  if (team <= 1) {
    body(context);
  } else {
    call_team(team, guarded_body, &guarded);
  }
  accounts().settle(threads, team, nanoseconds(CLOCK_MONOTONIC) - start,
                    guarded.work_ns.load(std::memory_order_relaxed));
}

// A sleeper of our own comes 50 to 200 us after it is called (the longer where NumPy's BLAS spins on the
// other core): 384 x 384 float32 with 16 rows took 84 us alone and 260 us with one. A borrowed team costs about 2 us.
int workers_worth_waking(int threads, int64_t work_ns) {
#if defined(TERSELY_EMULATE)  // small tests must see several workers
  work_ns *= 1000;
#endif
  const int64_t min_ns = gomp_parallel() != nullptr ? 10'000 : 200'000;
  return static_cast<int>(std::clamp<int64_t>(work_ns / min_ns, 1, std::max(threads, 1)));
}

const char* parallel_pool_name() {
  if (gomp_parallel() != nullptr) return "OpenMP pool of the process (GOMP_parallel)";
  return "own sleeping pool";
}

}  // namespace tersely
