// Whether a team of workers has been worth its while lately: what was won and lost by having it, in nanoseconds.
//
// A neighbour on one of the cores makes a team slower than half of it: everybody waits for the worker that does not
// run. A team whose losses have eaten its gains is not called again until its debt is paid off, by a share of the time
// of the regions that did without: a quarter after the first time, for neighbours come and go, and half as much after
// each further time until the team has won again. So trying costs 1/64 in the end, however bad it goes.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>

namespace tersely {

class Accounts {
 public:
  // The largest of `threads`, a half of it, a quarter ... whose account is not overdrawn.
  int team(int threads) const {
    while (threads > 1 && of(threads).balance.load(std::memory_order_relaxed) < 0) threads = half(threads);
    return threads;
  }

  // A region that took wall_ns, with a team chosen for so many threads; work_ns: time its workers were on a processor.
  // Half the team would have taken less of that: workers take caches and memory from each other.
  void settle(int threads, int team, int64_t wall_ns, int64_t work_ns) {
    if (team > 1) add(of(team), work_ns * 4 / 5 / half(team) - wall_ns);
    for (; threads > team; threads = half(threads)) {
      Account& account = of(threads);
      if (account.balance.load(std::memory_order_relaxed) < 0)
        add(account, wall_ns >> (1 + account.failures.load(std::memory_order_relaxed)));
    }
  }

 private:
  // A trial may lose kTrial, which is paid off like other losses: a worker that has slept wakes on the caller's own
  // core now and then, and waits there for some slices of 3 ms until the system moves it.
  static constexpr int64_t kMaxBalance = 30'000'000, kTrial = 12'000'000;
  static constexpr int kMaxFailures = 5;

  // Machines are quiet until they prove otherwise; the first region of a team, which makes its threads, does not.
  struct Account {
    std::atomic<int64_t> balance{kMaxBalance};
    std::atomic<int> failures{0};
  };

  static int half(int team) { return (team + 1) / 2; }
  static int class_of(int team) { return std::min<int>(std::bit_width(static_cast<unsigned>(team - 1)), 15); }
  Account& of(int team) { return accounts_[class_of(team)]; }
  const Account& of(int team) const { return accounts_[class_of(team)]; }

  // Two at once may lose one entry; the next ones make up for it.
  static void add(Account& account, int64_t ns) {
    const int64_t before = account.balance.load(std::memory_order_relaxed);
    int64_t after = before + ns;
    const int failures = account.failures.load(std::memory_order_relaxed);
    if (before >= 0 && after < 0) {
      after -= kTrial;
      account.failures.store(std::min(failures + 1, kMaxFailures), std::memory_order_relaxed);
    } else if (before < 0 && after >= 0) {
      after = kTrial;
    } else if (after > kMaxBalance / 2 && failures > 0) {
      account.failures.store(0, std::memory_order_relaxed);
    }
    after = std::clamp(after, -kMaxBalance, kMaxBalance);
    if (after != before) account.balance.store(after, std::memory_order_relaxed);
  }

  Account accounts_[16];
};

}  // namespace tersely
