// One operator of a network, its shapes checked and its weights at hand.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tersely/backends/cpu/kernels/activations.hpp"
#include "tersely/backends/cpu/matrix/coded_matrix.hpp"
#include "tersely/backends/cpu/matrix/json.hpp"
#include "tersely/backends/cpu/network/value.hpp"

namespace tersely {

// What a caller of a program lends to it for one run, in the order of its inputs and outputs.
struct Lent {
  const void* const* inputs;
  float* const* outputs;
};

// An input or output as steps expect it.
struct Port {
  int64_t count = 0;
  bool integers = false;  // int64, else float32
  bool used = false;
};
struct Ports {
  std::vector<Port> inputs, outputs;
};

// One run of a program.
struct Run {
  float* arena;
  float* workspace;  // as many floats as the step wants, at a 64-byte boundary
  Lent lent;
  int threads;
  int64_t turn = 0;  // of the loop that the step is in

  float* floats(const Value& value) const { return arena + value.at + turn * value.each; }
  uint8_t* bytes(const Value& value) const { return reinterpret_cast<uint8_t*>(floats(value)); }
  uint16_t* words(const Value& value) const { return reinterpret_cast<uint16_t*>(floats(value)); }
};

class Convolution;

class Step {
 public:
  Step() = default;
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  virtual ~Step() = default;
  virtual int64_t workspace_floats() const { return 0; }
  virtual void run(const Run& run) const = 0;
  // Whose weights are walked next is told which they are, so that they are on their way before the step is over.
  virtual const Convolution* walked() const { return nullptr; }
  virtual void before(const Convolution* /*next*/) {}
};

// A weight or another constant that outlives the program: a coded matrix, or one kind of numbers as they are.
struct Constant {
  const CodedMatrix* coded = nullptr;
  const float* numbers = nullptr;
  int64_t count = 0;  // of numbers, integers or bytes
  const int32_t* integers = nullptr;
  const uint8_t* bytes = nullptr;  // words of int8 or uint8
};

// What a step is made of. Getters throw std::invalid_argument with the member's name.
class StepText {
 public:
  using Find = std::function<Constant(const std::string&)>;
  // turns: of the loop that the step is in; 1 outside of loops.
  StepText(const Json& json, const std::vector<Value>& values, const Find& find, Ports& ports, int64_t turns)
      : json_(json), values_(values), find_(find), ports_(ports), turns_(turns) {}

  // Values of floats.
  const Value& value(const char* member) const;
  // Of floats, whose channels may lie together: of steps that know of that.
  const Value& image(const char* member) const;
  const Value* value_or_null(const char* member) const;
  // One of bfloat16; one of bytes; one of floats or bytes; one of any.
  const Value& rounded(const char* member) const;
  const Value& quantised(const char* member) const;
  const Value& any_value(const char* member) const;
  std::vector<const Value*> list(const char* member) const;  // of floats or bytes
  // One of any, whose channels may lie together.
  const Value& memory(const char* member) const { return by_number(number(member), member, true); }
  int64_t number(const char* member) const { return json_.at(member).number(); }
  int64_t number_or(const char* member, int64_t otherwise) const { return json_.number_or(member, otherwise); }
  const std::string& word(const char* member) const { return json_.at(member).string(); }
  bool has(const char* member) const { return json_.find(member) != nullptr; }
  std::vector<int64_t> numbers(const char* member) const;
  // A float32, written as the integer of its 32 bits.
  float real(const char* member) const;
  Constant constant(const char* member) const { return find_(word(member)); }
  // At least `count` numbers; null where the step does not name any.
  const float* floats_or_null(const char* member, int64_t count) const;
  // The same of 32-bit integers.
  const int32_t* integers_or_null(const char* member, int64_t count) const;
  // What a member says of a step inside this one.
  StepText inner(const char* member) const { return {json_.at(member), values_, find_, ports_, turns_}; }
  // Member "index", noting that a caller lends `count` numbers there for each turn.
  size_t input(int64_t count, bool integers) const { return port(ports_.inputs, {count, integers, true}); }
  size_t output(int64_t count) const { return port(ports_.outputs, {count, false, true}); }

 private:
  size_t port(std::vector<Port>& ports, Port wanted) const;
  const Value& by_number(int64_t number, const char* member, bool together = false) const;

  const Json& json_;
  const std::vector<Value>& values_;
  const Find& find_;
  Ports& ports_;
  const int64_t turns_;
};

// Throws std::invalid_argument where a step's operands do not fit.
inline void fits(bool right, const char* what) {
  if (!right) throw std::invalid_argument(what);
}

// An activation by its name; throws std::invalid_argument for others.
Unary unary_of(const std::string& name);

using MakeStep = std::unique_ptr<Step> (*)(const StepText&);
std::unique_ptr<Step> make_convolution(const StepText& text);
std::unique_ptr<Step> make_expanded_depthwise(const StepText& text);
std::unique_ptr<Step> make_linear(const StepText& text);
std::unique_ptr<Step> make_pool(const StepText& text);
std::unique_ptr<Step> make_pointwise(const StepText& text);
std::unique_ptr<Step> make_combine(const StepText& text);
std::unique_ptr<Step> make_scale_shift(const StepText& text);
std::unique_ptr<Step> make_activate(const StepText& text);
std::unique_ptr<Step> make_assemble(const StepText& text);
std::unique_ptr<Step> make_resize(const StepText& text);
std::unique_ptr<Step> make_input(const StepText& text);
std::unique_ptr<Step> make_output(const StepText& text);
std::unique_ptr<Step> make_move(const StepText& text);
std::unique_ptr<Step> make_clear(const StepText& text);
std::unique_ptr<Step> make_elementwise(const StepText& text);
std::unique_ptr<Step> make_reduce(const StepText& text);
std::unique_ptr<Step> make_fill(const StepText& text);
std::unique_ptr<Step> make_attention(const StepText& text);
std::unique_ptr<Step> make_matrix_product(const StepText& text);
std::unique_ptr<Step> make_layer_norm(const StepText& text);
std::unique_ptr<Step> make_softmax(const StepText& text);
std::unique_ptr<Step> make_embedding(const StepText& text);
std::unique_ptr<Step> make_quantise(const StepText& text);
std::unique_ptr<Step> make_dequantise(const StepText& text);
std::unique_ptr<Step> make_quantised_convolution(const StepText& text);
std::unique_ptr<Step> make_quantised_add(const StepText& text);
std::unique_ptr<Step> make_quantised_pool(const StepText& text);
std::unique_ptr<Step> make_look_up(const StepText& text);
std::unique_ptr<Step> make_copy_bytes(const StepText& text);
std::unique_ptr<Step> make_round(const StepText& text);
std::unique_ptr<Step> make_pair_convolution(const StepText& text);

}  // namespace tersely
