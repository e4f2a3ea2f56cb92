// A whole network as a list of operators over one arena: what `tersely.graph.lower` writes for given shapes of inputs.
//
// Every value's place is decided when the program is made; a run allocates nothing but, for the second run at the same
// time, another arena.
#pragma once

#include <mutex>
#include <string_view>

#include "tersely/backends/cpu/network/step.hpp"

namespace tersely {

class Program {
 public:
  // {"version": 1, "arena": floats, "values": [{"at", "images", "channels", "height", "width", "halo", "blocked"}],
  // "steps": [{"operator", ...}], "loops": [{"first", "end", "turns"}]}. The steps of a loop, [first, end), run `turns`
  // times over, each time on the next images of what lies around the loop: values with "turns" and "each". Constants
  // that `find` returns are borrowed; it throws for names that it does not know. Throws std::invalid_argument with the
  // step's number for what does not fit: values beyond the arena, operands of other shapes, a result over its own
  // operands.
  Program(std::string_view text, const StepText::Find& find);

  // What `lent` has to hold.
  const Ports& ports() const { return ports_; }
  int64_t steps() const { return static_cast<int64_t>(steps_.size()); }
  // Of values, and of what steps want beside them.
  int64_t arena_bytes() const { return (arena_floats_ + workspace_floats_) * 4; }

  // Computes under `FlushedFloats`, whatever the caller has: activations that are subnormal count as zero. Weights are
  // decoded exactly. nanoseconds: null, or [steps] times, each of all turns. Several threads may run a program at once.
  // Throws std::bad_alloc, and std::invalid_argument for numbers of an input that the program cannot take: indices of
  // rows that a table lacks.
  void run(const Lent& lent, int threads, int64_t* nanoseconds) const;

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  using Arena = std::unique_ptr<float, Free>;
  Arena take() const;
  void run_steps(const Run& run, int64_t* nanoseconds) const;
  void run_step(size_t index, const Run& run, int64_t* nanoseconds) const;

  struct Loop {
    size_t first, end;
    int64_t turns;
  };
  static std::vector<Loop> loops_of(const Json& json, size_t steps);

  int64_t arena_floats_, workspace_floats_ = 0;
  Ports ports_;
  std::vector<Value> values_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<Loop> loops_;  // one after another
  mutable std::mutex mutex_;
  mutable std::vector<Arena> idle_;
};

}  // namespace tersely
