// See parameters.hpp.
#include "tersely/codes/words/split/parameters.hpp"

#include <cstring>

#include "tersely/codes/opening.hpp"

namespace tersely {
namespace {

int code_of(const std::string& name) {
  constexpr const char* kNames[] = {"constant", "packed", "layered"};
  for (int code = 0; code < 3; ++code)
    if (name == kNames[code]) return code;
  throw std::invalid_argument("split has no code '" + name + "'");
}

int tail_of(const Json& json, const char* name, int otherwise) {
  constexpr const char* kNames[] = {"none", "bits3", "word"};
  const Json* found = json.find(name);
  if (found == nullptr) return otherwise;
  for (int tail = 0; tail < 3; ++tail)
    if (found->string() == kNames[tail]) return tail;
  throw std::invalid_argument("split has no such tail");
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  require(c >= 'a' && c <= 'f', "the table of split is not hexadecimal");
  return c - 'a' + 10;
}

}  // namespace

Parameters split_parameters(const Json& json, DType dtype) {
  Parameters p{};
  p.dtype = dtype;
  const int code = code_of(json.at("code").string());
  p.code = static_cast<SymbolCode>(code);
  const int tail = tail_of(json, "tail", 0), short_tail = tail_of(json, "short_tail", -1);
  require(short_tail < tail || short_tail < 0, "the short tail is not shorter");
  require(tail == 0 || dtype == DType::kFloat32, "this dtype has no tail");
  p.tail = static_cast<Tail>(tail);
  p.has_short = short_tail >= 0;
  p.short_tail = static_cast<Tail>(p.has_short ? short_tail : tail);
  const int64_t byte = json.number_or("byte", -1);
  require(byte < 256, "the constant byte is out of range");
  p.byte_is_constant = byte >= 0;
  p.byte = static_cast<uint8_t>(p.byte_is_constant ? byte : 0);
  if (const Json* widths = json.find("widths"))
    for (const Json& width : widths->array()) {
      require(p.levels < kMaximumLevels && width.number() >= 1 && width.number() <= kMaximumWidth,
              "widths out of range");
      p.widths[p.levels++] = static_cast<int>(width.number());
    }
  require((p.code == SymbolCode::kLayered) == (p.levels > 0), "widths do not fit the code");
  p.code_bytes = code == 0 ? 0 : code == 1 ? 32 : 8 * p.widths[0];
  const std::string& table = json.at("table").string();
  size_t at = 0;
  for (int level = 0; level < std::max(1, p.levels); ++level) {
    const int own = code == 0 ? 1 : code == 1 ? 15 : (1 << p.widths[level]) - 1;
    for (int i = 0; i < own; ++i, at += 2) {
      require(at + 2 <= table.size(), "the table of split is too short");
      p.tables[level][i] = static_cast<uint8_t>(digit(table[at]) << 4 | digit(table[at + 1]));
    }
  }
  require(at == table.size(), "the table of split is too long");
  const Fields& f = kFields[static_cast<int>(dtype)];
  require(!p.byte_is_constant || f.has_byte, "this dtype has no byte plane");
  const int64_t fixed = p.code_bytes + 8 * f.odd_count + (f.has_byte && !p.byte_is_constant ? 64 : 0);
  p.chunk_bytes[0] = fixed + kTailBytes[static_cast<int>(p.tail)];
  p.chunk_bytes[1] = fixed + kTailBytes[static_cast<int>(p.short_tail)];
  return p;
}

Streams split_streams(const Parameters& p, const Components& components, int64_t tile_bytes, int64_t parts,
                      int64_t max_groups) {
  Streams s{};
  s.tiles = components.stream("tiles", tile_bytes);
  if (p.code == SymbolCode::kConstant) return s;
  const int columns = p.code == SymbolCode::kPacked ? 1 : p.levels;
  s.directory_columns = columns;
  s.directory = components.directory(parts, columns, max_groups * kChunkWeights);
  // The room that levels are expanded to holds as many groups as a segment has chunks.
  for (int64_t i = columns; i < (parts + 1) * columns; ++i)
    if (i % columns != columns - 1 && s.directory[i] - s.directory[i - columns] > static_cast<uint64_t>(max_groups))
      components.refuse("directory", "is an impossible entry", i * 8);
  const uint64_t* ends = s.directory + parts * columns;
  s.escapes = components.stream("escapes", static_cast<int64_t>(ends[columns - 1]));
  for (int level = 1; level < p.levels; ++level)
    s.levels[level] = components.stream("level" + std::to_string(level + 1),
                                        checked_product(static_cast<int64_t>(ends[level - 1]), 8 * p.widths[level]));
  return s;
}

}  // namespace tersely
