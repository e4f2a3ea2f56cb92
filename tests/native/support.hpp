// What the tests without Python share: files as bytes, and a sentence and status 1 for the first thing that is wrong.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "tersely/backends/cpu/matrix/description.hpp"

using Blob = std::vector<uint8_t>;
namespace fs = std::filesystem;

// What is being tested, for the sentence.
inline std::string doing;

inline void check(bool fits, const std::string& what) {
  if (fits) return;
  std::fprintf(stderr, "%s: %s\n", doing.c_str(), what.c_str());
  std::exit(1);
}

inline Blob read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  check(file.good(), "cannot read " + path.string());
  return Blob(std::istreambuf_iterator<char>(file), {});
}

inline std::string text_of(const fs::path& path) {
  const Blob bytes = read(path);
  return {bytes.begin(), bytes.end()};
}

// The description and components of a coded tensor, as tests/support/native.py writes them.
struct CodedFolder {
  tersely::Description description;
  std::map<std::string, Blob> bytes;

  explicit CodedFolder(const fs::path& path)
      : description(tersely::Description::parse(text_of(path / "description.json"))) {
    for (const auto& entry : fs::directory_iterator(path / "components"))
      bytes[entry.path().filename().string()] = read(entry.path());
  }

  // One component shorter than it is, if it is named.
  tersely::Components components(const std::string& shorter = "", int64_t by = 0) const {
    tersely::Components found;
    for (const auto& [name, blob] : bytes) {
      const auto size = static_cast<int64_t>(blob.size());
      found.add(name, {blob.data(), name == shorter ? size - by : size});
    }
    return found;
  }
};
