// What parallel regions and sessions share: whether a team is worth calling, and calling it.
#pragma once

#include <ctime>

#include "tersely/backends/cpu/base/account.hpp"

namespace tersely {

Accounts& accounts();
int64_t nanoseconds(clockid_t clock);

// Calls body(context) on `team` workers, the caller among them, of the OpenMP pool that is in the process or of ours.
// body may not throw. No accounts are kept.
void call_team(int team, void (*body)(void*), void* context);

// Around work in which regions are not to be opened again.
class InsideRegion {
 public:
  InsideRegion() : before_(inside_) { inside_ = true; }
  InsideRegion(const InsideRegion&) = delete;
  InsideRegion& operator=(const InsideRegion&) = delete;
  ~InsideRegion() { inside_ = before_; }
  static bool here() { return inside_; }

 private:
  static thread_local bool inside_;
  bool before_;
};

// Leaves the processor on which `caller` runs, if the calling thread is another one that was put there.
void make_way(int cpu, bool is_caller);
int this_cpu();

}  // namespace tersely
