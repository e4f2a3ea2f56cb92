// See program.hpp.
#include "tersely/backends/cpu/network/program.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "tersely/backends/cpu/base/floats.hpp"
#include "tersely/backends/cpu/base/session.hpp"
#include "tersely/backends/cpu/matrix/description.hpp"

namespace tersely {
namespace {

constexpr int64_t kLargest =
    int64_t{1} << 40;  // of any number in a program: products of two stay in 64 bits where checked

struct Row {
  const char* name;
  MakeStep make;
};
constexpr Row kRows[] = {
    {"input", make_input},
    {"output", make_output},
    {"move", make_move},
    {"convolution", make_convolution},
    {"expanded_depthwise", make_expanded_depthwise},
    {"linear", make_linear},
    {"pool", make_pool},
    {"pointwise", make_pointwise},
    {"clear", make_clear},
    {"combine", make_combine},
    {"scale_shift", make_scale_shift},
    {"activate", make_activate},
    {"assemble", make_assemble},
    {"resize", make_resize},
    {"elementwise", make_elementwise},
    {"reduce", make_reduce},
    {"fill", make_fill},
    {"attention", make_attention},
    {"matrix_product", make_matrix_product},
    {"layer_norm", make_layer_norm},
    {"softmax", make_softmax},
    {"embedding", make_embedding},
    {"quantise", make_quantise},
    {"dequantise", make_dequantise},
    {"quantised_convolution", make_quantised_convolution},
    {"quantised_add", make_quantised_add},
    {"quantised_pool", make_quantised_pool},
    {"look_up", make_look_up},
    {"copy_bytes", make_copy_bytes},
    {"round", make_round},
};

int64_t count(const Json& json, const char* member, int64_t least) {
  const int64_t number = json.at(member).number();
  if (number < least || number > kLargest) throw std::invalid_argument(std::string(member) + " is out of range");
  return number;
}

Value value_of(const Json& json, int64_t arena_floats) {
  Value v;
  v.at = count(json, "at", 0);
  // Of no numbers there is nothing to compute, and shares of nothing are divided by nothing.
  v.images = count(json, "images", 1);
  v.layout = {count(json, "channels", 1), count(json, "height", 1), count(json, "width", 1), count(json, "halo", 0),
              json.at("blocked").boolean()};
  const int64_t size = json.number_or("element_bytes", 4);
  if (size != 1 && size != 2 && size != 4) throw std::invalid_argument("a number has one byte, two or four");
  v.bytes = size == 1, v.words = size == 2;
  v.layout.together = json.find("together") != nullptr && json.at("together").boolean();
  if (v.layout.together && (v.layout.blocked || size != 4))
    throw std::invalid_argument("channels lie together in images of floats that are not in blocks");
  const ImageLayout& l = v.layout;
  const int64_t rows = checked_product(l.height + 2 * l.halo, l.width + 2 * l.halo);
  const int64_t numbers = checked_product(
      checked_product(checked_product(rows, l.blocked ? l.blocks() : l.channels), l.blocked ? 16 : 1), v.images);
  const int64_t in_a_float = 4 / size;
  const int64_t floats = numbers / in_a_float + (numbers % in_a_float != 0);
  v.turns = json.find("turns") == nullptr ? 1 : count(json, "turns", 1);
  v.each = json.find("each") == nullptr ? 0 : count(json, "each", 0);
  const int64_t before = checked_product(v.turns - 1, v.each);
  if (v.at % 16 != 0 || v.each % 16 != 0 || floats > arena_floats || before > arena_floats - floats ||
      v.at > arena_floats - floats - before)
    throw std::invalid_argument("a value lies beyond the arena");
  if (v.turns > 1 && v.each < floats) throw std::invalid_argument("images of one turn lie over those of the next");
  return v;
}

std::unique_ptr<Step> step_of(const StepText& text) {
  const std::string& name = text.word("operator");
  for (const Row& row : kRows)
    if (name == row.name) return row.make(text);
  throw std::invalid_argument("unknown operator " + name);
}

}  // namespace

const Value& StepText::by_number(int64_t number, const char* member, bool together) const {
  if (number < 0 || number >= static_cast<int64_t>(values_.size()))
    throw std::invalid_argument(std::string(member) + " is no value");
  const Value& found = values_[static_cast<size_t>(number)];
  if (found.turns != 1 && found.turns != turns_)
    throw std::invalid_argument(std::string(member) + " has other turns than the step");
  if (found.layout.together && !together)
    throw std::invalid_argument(std::string(member) + " has channels together, which the step does not read");
  return found;
}

const Value& StepText::value(const char* member) const {
  by_number(number(member), member);
  return image(member);
}

const Value& StepText::image(const char* member) const {
  const Value& found = by_number(number(member), member, true);
  if (found.bytes) throw std::invalid_argument(std::string(member) + " has bytes, not floats");
  if (found.words) throw std::invalid_argument(std::string(member) + " has bfloat16, not float32");
  return found;
}

const Value& StepText::rounded(const char* member) const {
  const Value& found = by_number(number(member), member);
  if (!found.words) throw std::invalid_argument(std::string(member) + " has other numbers than bfloat16");
  return found;
}

const Value* StepText::value_or_null(const char* member) const { return has(member) ? &value(member) : nullptr; }

const Value& StepText::quantised(const char* member) const {
  const Value& found = by_number(number(member), member);
  if (!found.bytes) throw std::invalid_argument(std::string(member) + " has floats, not bytes");
  return found;
}

const Value& StepText::any_value(const char* member) const {
  const Value& found = by_number(number(member), member);
  if (found.words) throw std::invalid_argument(std::string(member) + " has bfloat16, not float32 or bytes");
  return found;
}

std::vector<const Value*> StepText::list(const char* member) const {
  std::vector<const Value*> found;
  for (const Json& one : json_.at(member).array()) {
    found.push_back(&by_number(one.number(), member));
    if (found.back()->words) throw std::invalid_argument(std::string(member) + " has bfloat16, not float32 or bytes");
  }
  return found;
}

std::vector<int64_t> StepText::numbers(const char* member) const {
  std::vector<int64_t> found;
  for (const Json& one : json_.at(member).array()) found.push_back(one.number());
  return found;
}

const float* StepText::floats_or_null(const char* member, int64_t count) const {
  if (!has(member)) return nullptr;
  const Constant found = constant(member);
  if (found.numbers == nullptr || found.count < count)
    throw std::invalid_argument(std::string(member) + " has too few numbers");
  return found.numbers;
}

const int32_t* StepText::integers_or_null(const char* member, int64_t count) const {
  if (!has(member)) return nullptr;
  const Constant found = constant(member);
  if (found.integers == nullptr || found.count < count)
    throw std::invalid_argument(std::string(member) + " has too few integers");
  return found.integers;
}

float StepText::real(const char* member) const {
  const int64_t bits = number(member);
  if (bits < 0 || bits > 0xffffffffLL) throw std::invalid_argument(std::string(member) + " is no float32");
  const auto low = static_cast<uint32_t>(bits);
  float found;
  std::memcpy(&found, &low, sizeof found);
  return found;
}

size_t StepText::port(std::vector<Port>& ports, Port wanted) const {
  wanted.count = checked_product(wanted.count, turns_);
  constexpr int64_t kMaxPorts = 4096;
  const int64_t index = number("index");
  if (index < 0 || index >= kMaxPorts) throw std::invalid_argument("index is out of range");
  const auto at = static_cast<size_t>(index);
  if (at >= ports.size()) ports.resize(at + 1);
  Port& port = ports[at];
  if (port.used && (port.count != wanted.count || port.integers != wanted.integers))
    throw std::invalid_argument("two steps take an input or output for two kinds of thing");
  port = wanted;
  return at;
}

Program::Program(std::string_view text, const StepText::Find& find) {
  const Json json = Json::parse(text);
  if (json.at("version").number() != 1) throw std::invalid_argument("a program of another version");
  arena_floats_ = (count(json, "arena", 0) + 15) / 16 * 16;
  for (const Json& one : json.at("values").array()) values_.push_back(value_of(one, arena_floats_));
  const std::vector<Json>& steps = json.at("steps").array();
  loops_ = loops_of(json, steps.size());
  auto loop = loops_.begin();
  for (const Json& one : steps) {
    try {
      if (loop != loops_.end() && steps_.size() == loop->end) ++loop;
      const bool inside = loop != loops_.end() && steps_.size() >= loop->first;
      steps_.push_back(step_of(StepText(one, values_, find, ports_, inside ? loop->turns : 1)));
      workspace_floats_ = std::max(workspace_floats_, steps_.back()->workspace_floats());
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument("step " + std::to_string(steps_.size()) + ": " + error.what());
    }
  }
  const Convolution* next = nullptr;
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    (*step)->before(next);
    if ((*step)->walked() != nullptr) next = (*step)->walked();
  }
}

std::vector<Program::Loop> Program::loops_of(const Json& json, size_t steps) {
  std::vector<Loop> loops;
  if (json.find("loops") == nullptr) return loops;
  for (const Json& one : json.at("loops").array()) {
    const Loop loop{static_cast<size_t>(count(one, "first", 0)), static_cast<size_t>(count(one, "end", 1)),
                    count(one, "turns", 1)};
    if (loop.first >= loop.end || loop.end > steps || (!loops.empty() && loop.first < loops.back().end))
      throw std::invalid_argument("loops are not one after another, or have no steps");
    loops.push_back(loop);
  }
  return loops;
}

Program::Arena Program::take() const {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      Arena found = std::move(idle_.back());
      idle_.pop_back();
      return found;
    }
  }
  const auto bytes = static_cast<size_t>((arena_bytes() + 4095) / 4096 * 4096 + 4096);
  Arena made(static_cast<float*>(std::aligned_alloc(4096, bytes)));
  if (made == nullptr) throw std::bad_alloc();
  std::memset(made.get(), 0, bytes);
  return made;
}

void Program::run_step(size_t index, const Run& run, int64_t* nanoseconds) const {
  if (nanoseconds == nullptr) return steps_[index]->run(run);
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const auto begin = now();
  steps_[index]->run(run);
  nanoseconds[index] += std::chrono::duration_cast<std::chrono::nanoseconds>(now() - begin).count();
}

void Program::run_steps(const Run& run, int64_t* nanoseconds) const {
  if (nanoseconds != nullptr) std::fill_n(nanoseconds, steps_.size(), 0);
  size_t next = 0;
  for (const Loop& loop : loops_) {
    for (; next < loop.first; ++next) run_step(next, run, nanoseconds);
    Run one = run;
    for (; one.turn < loop.turns; ++one.turn)
      for (size_t i = loop.first; i < loop.end; ++i) run_step(i, one, nanoseconds);
    next = loop.end;
  }
  for (; next < steps_.size(); ++next) run_step(next, run, nanoseconds);
}

void Program::run(const Lent& lent, int threads, int64_t* nanoseconds) const {
  Arena arena = take();
  const Run run{arena.get(), arena.get() + arena_floats_, lent, threads};
  const FlushedFloats floats;
  in_session(threads, [&] { run_steps(run, nanoseconds); });
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(arena));
}

}  // namespace tersely
