// The JSON that descriptions are made of: objects, arrays, strings, integers, true, false and null, nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tersely {

class Json {
 public:
  enum class Kind : uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };

  // Throws std::invalid_argument for anything but one value of this subset: numbers beyond 64 bits, members that occur
  // twice and nesting deeper than kMaxDepth are refused too.
  static Json parse(std::string_view text);
  static constexpr int kMaxDepth = 64;

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  // The value, where it is of that kind; throws std::invalid_argument elsewhere.
  int64_t number() const;
  bool boolean() const;
  const std::string& string() const;
  const std::vector<Json>& array() const;
  const std::vector<std::pair<std::string, Json>>& members() const;

  // A member of an object, or null where there is none; `at` throws std::invalid_argument then.
  const Json* find(std::string_view name) const;
  const Json& at(std::string_view name) const;
  // The number of a member, or `otherwise` where there is none.
  int64_t number_or(std::string_view name, int64_t otherwise) const;
  // A member that says true or is not there; throws std::invalid_argument for any other value.
  bool flag(std::string_view name) const;

 private:
  friend class JsonParser;
  Kind kind_ = Kind::kNull;
  int64_t number_ = 0;  // or whether a kBool is true
  std::string string_;
  std::vector<Json> array_;
  std::vector<std::pair<std::string, Json>> members_;
};

}  // namespace tersely
