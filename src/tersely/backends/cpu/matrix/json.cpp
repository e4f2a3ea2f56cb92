// See json.hpp.
#include "tersely/backends/cpu/matrix/json.hpp"

#include <charconv>
#include <stdexcept>

namespace tersely {

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  Json whole() {
    Json found = value(0);
    skip();
    if (at_ != text_.size()) fail("something follows the value");
    return found;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::invalid_argument("byte " + std::to_string(at_) + " of the description: " + what);
  }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  char peek() {
    skip();
    if (at_ == text_.size()) fail("the text ends");
    return text_[at_];
  }
  bool take(char wanted) {
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) fail(std::string("'") + wanted + "' is missing");
  }
  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json value(int depth) {
    if (depth > Json::kMaxDepth) fail("values are nested too deeply");
    Json found;
    const char first = peek();
    if (first == '{') {
      found.kind_ = Json::Kind::kObject;
      ++at_;
      if (take('}')) return found;
      do {
        if (peek() != '"') fail("a name is missing");
        std::string name = string();
        if (found.find(name) != nullptr) fail("the member '" + name + "' occurs twice");
        expect(':');
        found.members_.emplace_back(std::move(name), value(depth + 1));
      } while (take(','));
      expect('}');
    } else if (first == '[') {
      found.kind_ = Json::Kind::kArray;
      ++at_;
      if (take(']')) return found;
      do found.array_.push_back(value(depth + 1));
      while (take(','));
      expect(']');
    } else if (first == '"') {
      found.kind_ = Json::Kind::kString;
      found.string_ = string();
    } else if (first == '-' || (first >= '0' && first <= '9')) {
      found.kind_ = Json::Kind::kNumber;
      found.number_ = number();
    } else if (take_word("true") || take_word("false")) {
      found.kind_ = Json::Kind::kBool;
      found.number_ = first == 't';
    } else if (!take_word("null")) {
      fail("no value");
    }
    return found;
  }

  int64_t number() {
    const size_t digits = at_ + (text_[at_] == '-' ? 1 : 0);
    if (text_.substr(digits, 1) == "0" && digits + 1 < text_.size() && text_[digits + 1] >= '0' &&
        text_[digits + 1] <= '9')
      fail("a number begins with 0");
    int64_t found = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), found);
    if (error != std::errc{}) fail("no number of 64 bits");
    at_ = static_cast<size_t>(end - text_.data());
    if (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E'))
      fail("numbers of a description are integers");
    return found;
  }

  std::string string() {
    std::string found;
    for (++at_;; ++at_) {
      if (at_ == text_.size()) fail("a string does not end");
      const char c = text_[at_];
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      if (c == '\\') {
        escaped(found);
      } else {
        found += c;
      }
    }
    ++at_;
    return found;
  }

  // What a description holds is ASCII: code points beyond are names of foreign tensors, which are not passed on.
  void escaped(std::string& found) {
    constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
    if (++at_ == text_.size()) fail("a string does not end");
    if (const size_t index = kFrom.find(text_[at_]); index != std::string_view::npos) {
      found += kTo[index];
      return;
    }
    unsigned code = 0;
    const std::string_view digits = text_.substr(at_ + 1, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (text_[at_] != 'u' || error != std::errc{} || end != digits.data() + 4 || digits.size() != 4 || code > 0x7F)
      fail("an escape that no description has");
    found += static_cast<char>(code);
    at_ += 4;
  }

  std::string_view text_;
  size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonParser(text).whole(); }

namespace {

void require_kind(bool fits, const char* what) {
  if (!fits) throw std::invalid_argument(std::string("description: a value is no ") + what);
}

}  // namespace

int64_t Json::number() const {
  require_kind(kind_ == Kind::kNumber, "integer");
  return number_;
}
bool Json::boolean() const {
  require_kind(kind_ == Kind::kBool, "true or false");
  return number_ != 0;
}
const std::string& Json::string() const {
  require_kind(kind_ == Kind::kString, "string");
  return string_;
}
const std::vector<Json>& Json::array() const {
  require_kind(kind_ == Kind::kArray, "array");
  return array_;
}
const std::vector<std::pair<std::string, Json>>& Json::members() const {
  require_kind(kind_ == Kind::kObject, "object");
  return members_;
}

const Json* Json::find(std::string_view name) const {
  for (const auto& [own, value] : members_)
    if (own == name) return &value;
  return nullptr;
}
const Json& Json::at(std::string_view name) const {
  if (const Json* found = find(name)) return *found;
  throw std::invalid_argument("description: '" + std::string(name) + "' is missing");
}
int64_t Json::number_or(std::string_view name, int64_t otherwise) const {
  const Json* found = find(name);
  return found == nullptr ? otherwise : found->number();
}

bool Json::flag(std::string_view name) const {
  const Json* found = find(name);
  if (found != nullptr && !found->boolean()) throw std::invalid_argument("a flag is true or left out");
  return found != nullptr;
}

}  // namespace tersely
