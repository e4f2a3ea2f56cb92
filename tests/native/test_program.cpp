// Runs whole networks without Python: `program FOLDER...`.
//
// A folder, which tests/backends/test_native_program.py writes from a saved pipeline, has program.json, constants.json
// (name and folder of each: a coded tensor, or numbers alone), inputs and outputs by number. Ends with status 1 and a
// sentence for the first thing that is wrong.
#include <cfenv>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "support.hpp"
#include "tersely/backends/cpu/network/program.hpp"
#include "tersely/codes/open.hpp"

namespace {

using tersely::Constant;
using tersely::Json;
using tersely::Program;

std::vector<float> floats(const fs::path& path) {
  const Blob bytes = read(path);
  std::vector<float> found(bytes.size() / 4);
  std::memcpy(found.data(), bytes.data(), bytes.size());
  return found;
}

// A network's constants, which a program borrows.
class Constants {
 public:
  explicit Constants(const fs::path& folder) {
    const Json json = Json::parse(text_of(folder / "constants.json"));
    for (const auto& [name, at] : json.members()) {
      const fs::path path = folder / at.string();
      if (fs::exists(path / "numbers")) {
        numbers_[name] = floats(path / "numbers");
      } else {
        const CodedFolder& coded = folders_.emplace(name, CodedFolder(path)).first->second;
        matrices_[name] = tersely::open(coded.description, coded.components());
      }
    }
  }

  Constant find(const std::string& name) const {
    if (const auto at = matrices_.find(name); at != matrices_.end()) return {at->second.get(), nullptr, 0};
    const auto at = numbers_.find(name);
    if (at == numbers_.end()) throw std::invalid_argument("no constant " + name);
    return {nullptr, at->second.data(), static_cast<int64_t>(at->second.size())};
  }

  int64_t coded() const { return static_cast<int64_t>(matrices_.size()); }

 private:
  std::map<std::string, CodedFolder> folders_;
  std::map<std::string, std::unique_ptr<tersely::CodedMatrix>> matrices_;
  std::map<std::string, std::vector<float>> numbers_;
};

using Results = std::vector<std::vector<float>>;

class Network {
 public:
  explicit Network(const fs::path& folder)
      : constants_(folder), text_(text_of(folder / "program.json")), program_(text_, finder()) {
    check(constants_.coded() > 0, "no weight is coded");
    const tersely::Ports& ports = program_.ports();
    for (size_t i = 0; i < ports.inputs.size(); ++i) {
      inputs_.push_back(read(folder / "inputs" / std::to_string(i)));
      const int64_t width = ports.inputs[i].integers ? 8 : 4;
      check(static_cast<int64_t>(inputs_.back().size()) == ports.inputs[i].count * width, "an input has another size");
    }
    for (size_t i = 0; i < ports.outputs.size(); ++i) {
      expected_.push_back(floats(folder / "outputs" / std::to_string(i)));
      check(static_cast<int64_t>(expected_.back().size()) == ports.outputs[i].count, "an output has another size");
    }
  }

  Results run(int threads, std::vector<int64_t>* times = nullptr) const {
    std::vector<const void*> in;
    for (const Blob& one : inputs_) in.push_back(one.data());
    Results found;
    std::vector<float*> out;
    for (const auto& one : expected_) found.emplace_back(one.size(), std::nanf(""));
    for (auto& one : found) out.push_back(one.data());
    if (times != nullptr) times->assign(static_cast<size_t>(program_.steps()), -1);
    program_.run({in.data(), out.data()}, threads, times == nullptr ? nullptr : times->data());
    return found;
  }

  void check_results() const {
    const Results once = run(1);
    for (size_t i = 0; i < once.size(); ++i) {
      float largest = 0, apart = 0;
      for (size_t k = 0; k < once[i].size(); ++k) {
        largest = std::max(largest, std::fabs(expected_[i][k]));
        const float here = std::fabs(once[i][k] - expected_[i][k]);
        apart = here > apart || here != here ? here : apart;
      }
      // Python's build may have fused multiplications and additions elsewhere.
      check(apart <= 1e-5F * largest, "output " + std::to_string(i) + " differs by " + std::to_string(apart));
    }
    for (const int threads : {2, 3, 7}) check(same(run(threads), once), "results depend on the number of threads");
    std::vector<int64_t> times;
    check(same(run(2, &times), once), "results of a timed run differ");
    for (const int64_t one : times) check(one >= 0, "a step was not timed");
  }

  // Two callers, one of whom rounds otherwise and is left so.
  void check_callers() const {
    const Results once = run(1);
    Results other;
    std::thread caller([&] {
      std::fesetround(FE_UPWARD);
      for (int i = 0; i < 5; ++i) other = run(2);
      check(std::fegetround() == FE_UPWARD, "the caller's rounding is lost");
    });
    for (int i = 0; i < 5; ++i) check(same(run(2), once), "runs at once meet");
    caller.join();
    check(same(other, once), "results depend on the caller's rounding");
  }

  // A program cut anywhere, or over constants that are not there, is refused and nothing else happens.
  void check_refusals() const {
    for (size_t at = 0; at < text_.size(); at += text_.size() / 40 + 1)
      check(is_refused(text_.substr(0, at), finder()), "a program cut at " + std::to_string(at) + " is accepted");
    const auto nothing = [](const std::string& name) -> Constant { throw std::invalid_argument("no " + name); };
    check(is_refused(text_, nothing), "a program without its weights is accepted");
    const auto empty = [](const std::string&) { return Constant{}; };
    check(is_refused(text_, empty), "a program of empty weights is accepted");
  }

 private:
  tersely::StepText::Find finder() const {
    return [this](const std::string& name) { return constants_.find(name); };
  }

  static bool same(const Results& a, const Results& b) {
    for (size_t i = 0; i < a.size(); ++i)
      if (std::memcmp(a[i].data(), b[i].data(), a[i].size() * 4) != 0) return false;
    return a.size() == b.size();
  }

  static bool is_refused(const std::string& text, const tersely::StepText::Find& find) {
    try {
      const Program program(text, find);
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  }

  const Constants constants_;
  const std::string text_;
  const Program program_;
  std::vector<Blob> inputs_;
  Results expected_;
};

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    doing = arguments[i];
    const Network network(arguments[i]);
    network.check_results();
    network.check_callers();
    network.check_refusals();
  }
  std::printf("%d networks\n", count - 1);
  return 0;
}
