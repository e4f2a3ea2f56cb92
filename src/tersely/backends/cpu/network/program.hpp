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
  // "steps": [{"operator", ...}]}. Constants that `find` returns are borrowed; it throws for names that it does not
  // know. Throws std::invalid_argument with the step's number for what does not fit: values beyond the arena, operands
  // of other shapes, a result over its own operands.
  Program(std::string_view text, const StepText::Find& find);

  // What `lent` has to hold.
  const Ports& ports() const { return ports_; }
  int64_t steps() const { return static_cast<int64_t>(steps_.size()); }
  // Of values, and of what steps want beside them.
  int64_t arena_bytes() const { return (arena_floats_ + workspace_floats_) * 4; }

  // Computes under `FlushedFloats`, whatever the caller has: activations that are subnormal count as zero. Weights are
  // decoded exactly. nanoseconds: null, or [steps] times. Several threads may run a program at once. Throws
  // std::bad_alloc, and std::invalid_argument for numbers of an input that the program cannot take: indices of rows
  // that a table lacks.
  void run(const Lent& lent, int threads, int64_t* nanoseconds) const;

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  using Arena = std::unique_ptr<float, Free>;
  Arena take() const;
  void run_steps(const Run& run, int64_t* nanoseconds) const;

  int64_t arena_floats_, workspace_floats_ = 0;
  Ports ports_;
  std::vector<Value> values_;
  std::vector<std::unique_ptr<Step>> steps_;
  mutable std::mutex mutex_;
  mutable std::vector<Arena> idle_;
};

}  // namespace tersely
