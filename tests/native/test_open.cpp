// Opens coded tensors from their bytes, decodes and multiplies them, without Python: `open FOLDER...`.
//
// A folder, which tests/backends/test_native.py writes, has description.json, components/NAME, words (the tensor's, as
// they are) and values (the same as little-endian float64). Ends with status 1 and a sentence for the first thing that
// is wrong.
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "support.hpp"
#include "tersely/codes/open.hpp"

namespace {

using tersely::Activation;
using tersely::CodedMatrix;
using tersely::Components;
using tersely::DType;
using tersely::Epilogue;

struct Folder : CodedFolder {
  Blob words;
  std::vector<double> values;

  explicit Folder(const fs::path& path) : CodedFolder(path), words(read(path / "words")) {
    const Blob doubles = read(path / "values");
    values.resize(doubles.size() / 8);
    std::memcpy(values.data(), doubles.data(), doubles.size());
  }
};

double number(uint64_t i) { return static_cast<double>(i * 2654435761u % 2001) / 1000 - 1; }

void check_decoding(const CodedMatrix& matrix, const Folder& folder) {
  const tersely::Geometry& g = matrix.geometry();
  Blob out(folder.words.size());
  check(g.elements * matrix.word_bytes() == static_cast<int64_t>(out.size()), "another number of weights");
  matrix.decode_window(0, g.panels, 0, g.elements, out.data(), 2);
  check(out == folder.words, "decoded words differ");
  for (int64_t i = 0; i < 50; ++i) {
    const int64_t row = i * 7 % g.rows, column = i * 31 % g.columns;
    uint32_t expected = 0;
    std::memcpy(&expected, folder.words.data() + (row * g.columns + column) * matrix.word_bytes(),
                static_cast<size_t>(matrix.word_bytes()));
    check(matrix.access(0, row, column) == expected, "one weight differs");
  }
  const int64_t wanted[] = {g.rows - 1, 0, g.rows / 2}, row_bytes = g.columns * matrix.word_bytes();
  Blob rows(static_cast<size_t>(3 * row_bytes));
  check(matrix.pick(wanted, 3, rows.data(), 1) == -1, "rows are out of range");
  for (int64_t i = 0; i < 3; ++i)
    check(std::memcmp(rows.data() + i * row_bytes, folder.words.data() + wanted[i] * row_bytes,
                      static_cast<size_t>(row_bytes)) == 0,
          "a picked row differs");
}

double activated(Activation activation, double value) {
  switch (activation) {
    case Activation::kRelu:
      return value < 0 ? 0 : value;
    case Activation::kSilu:
      return value / (1 + std::exp(-value));
    case Activation::kGeluTanh:
      return 0.5 * value *
             (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (value + 0.044715 * value * value * value)));
    case Activation::kGeluErf:
      return 0.5 * value * (1 + std::erf(value / std::sqrt(2.0)));
    default:
      return value;
  }
}

// Sums in float64, and the same of sizes, which bound the error.
struct Exact {
  std::vector<double> sums, sizes;
};

Exact exact(const Folder& folder, const tersely::Geometry& g, const std::vector<float>& x, int64_t batch,
            bool transposed) {
  const int64_t inner = transposed ? g.rows : g.columns, outer = transposed ? g.columns : g.rows;
  Exact found;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t o = 0; o < outer; ++o) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < inner; ++i) {
        const double term = static_cast<double>(x[static_cast<size_t>(b * inner + i)]) *
                            folder.values[static_cast<size_t>(transposed ? i * g.columns + o : o * g.columns + i)];
        sum += term;
        size += std::abs(term);
      }
      found.sums.push_back(sum);
      found.sizes.push_back(size);
    }
  return found;
}

void check_floats(const CodedMatrix& matrix, const Folder& folder, int64_t batch, bool transposed) {
  const tersely::Geometry& g = matrix.geometry();
  const int64_t inner = transposed ? g.rows : g.columns, outer = transposed ? g.columns : g.rows;
  std::vector<float> x, bias, residual;
  for (int64_t i = 0; i < batch * inner; ++i) x.push_back(static_cast<float>(number(static_cast<uint64_t>(i))));
  for (int64_t i = 0; i < outer; ++i) bias.push_back(static_cast<float>(number(static_cast<uint64_t>(i + 17))));
  for (int64_t i = 0; i < batch * outer; ++i)
    residual.push_back(static_cast<float>(number(static_cast<uint64_t>(i + 5))));
  const Exact expected = exact(folder, g, x, batch, transposed);
  const auto near = [&](int64_t i, double value, double wanted, const char* what) {
    const double bound = (expected.sizes[static_cast<size_t>(i)] + 4) * 3e-6;
    check(std::abs(value - wanted) <= bound, std::string(what) + " is off by " + std::to_string(value - wanted));
  };

  std::vector<float> plain(static_cast<size_t>(batch * outer));
  Epilogue y{DType::kFloat32, plain.data(), outer};
  y.bias = bias.data();
  matrix.multiply({DType::kFloat32, batch, x.data(), inner}, y, 2, transposed);
  for (int64_t i = 0; i < batch * outer; ++i)
    near(i, static_cast<double>(plain[static_cast<size_t>(i)]),
         expected.sums[static_cast<size_t>(i)] + static_cast<double>(bias[static_cast<size_t>(i % outer)]), "a sum");

  // Every other number of a longer row, results column by column: whatever the strides, nothing between is touched.
  std::vector<float> wide(static_cast<size_t>(batch * (2 * inner + 3)), 1e30F);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < inner; ++i)
      wide[static_cast<size_t>(b * (2 * inner + 3) + 2 * i)] = x[static_cast<size_t>(b * inner + i)];
  for (const Activation activation :
       {Activation::kNone, Activation::kRelu, Activation::kSilu, Activation::kGeluTanh, Activation::kGeluErf})
    for (const bool first : {false, true}) {
      const int64_t stride = batch + 1;
      std::vector<float> turned(static_cast<size_t>(stride * outer), 0.25F);
      Epilogue all{DType::kFloat32, turned.data(), 1, stride};
      all.bias = bias.data();
      all.residual = residual.data();
      all.residual_row_stride = outer;
      all.residual_first = first;
      all.accumulate = true;
      all.activation = activation;
      matrix.multiply({DType::kFloat32, batch, wide.data(), 2 * inner + 3, 2}, all, 1, transposed);
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t o = 0; o < outer; ++o) {
          const auto i = static_cast<size_t>(b * outer + o);
          const double added = static_cast<double>(residual[i]);
          const double sum = expected.sums[i] + static_cast<double>(bias[static_cast<size_t>(o)]) + 0.25;
          const double wanted = first ? activated(activation, sum + added) : activated(activation, sum) + added;
          near(b * outer + o, static_cast<double>(turned[static_cast<size_t>(o * stride + b)]), wanted,
               "a result with everything");
        }
      for (int64_t o = 0; o < outer; ++o)
        check(turned[static_cast<size_t>(o * stride + batch)] == 0.25F, "a place between results was written");
    }

  // Rows that lie apart are the same rows: their bits do not depend on it.
  std::vector<float> apart(static_cast<size_t>(batch * (inner + 5)), 1e30F),
      again(static_cast<size_t>(batch * (outer + 7)));
  for (int64_t b = 0; b < batch; ++b)
    std::memcpy(&apart[static_cast<size_t>(b * (inner + 5))], &x[static_cast<size_t>(b * inner)],
                static_cast<size_t>(inner) * 4);
  Epilogue spaced{DType::kFloat32, again.data(), outer + 7};
  spaced.bias = bias.data();
  matrix.multiply({DType::kFloat32, batch, apart.data(), inner + 5}, spaced, 1, transposed);
  if (folder.description.node.parameters.find("scale") != nullptr && folder.description.node.formulation == "palette")
    return;  // a grid: rows that lie apart are multiplied as floats
  for (int64_t b = 0; b < batch; ++b)
    check(std::memcmp(&again[static_cast<size_t>(b * (outer + 7))], &plain[static_cast<size_t>(b * outer)],
                      static_cast<size_t>(outer) * 4) == 0,
          "bits depend on the distance between rows");
}

// int8 x: exact sums of weights, or of both halves of each byte.
void check_integers(const CodedMatrix& matrix, const Folder& folder) {
  const tersely::Geometry& g = matrix.geometry();
  const bool halves = matrix.products() == tersely::Products::kNibbles;
  const bool is_signed = halves && folder.description.node.parameters.flag("signed");
  const int64_t batch = 3, columns = halves ? 2 * g.columns : g.columns;
  std::vector<int8_t> x;
  for (int64_t i = 0; i < batch * columns; ++i) x.push_back(static_cast<int8_t>(i * 37 % 255 - 127));
  std::vector<int32_t> out(static_cast<size_t>(batch * g.rows));
  const double scale = 1;
  const int32_t zero = 3;
  const tersely::IntegerRows rows{true, DType::kFloat32, batch, x.data(), nullptr, &scale, &zero, 0, 0, out.data()};
  check(halves ? matrix.multiply_nibbles(rows, is_signed, 2) : matrix.multiply_integers(rows, 2), "no product");
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t row = 0; row < g.rows; ++row) {
      int64_t sum = 0;
      for (int64_t column = 0; column < columns; ++column) {
        int64_t weight;
        if (halves) {
          const uint8_t byte = folder.words[static_cast<size_t>(row * g.columns + column / 2)];
          weight = column % 2 == 0 ? byte & 15 : byte >> 4;
          if (is_signed && weight > 7) weight -= 16;
        } else {
          weight = static_cast<int64_t>(folder.values[static_cast<size_t>(row * columns + column)]);
        }
        sum += (weight - zero) * x[static_cast<size_t>(b * columns + column)];
      }
      check(out[static_cast<size_t>(b * g.rows + row)] == sum, "an exact sum differs");
    }
}

// The first `by` bytes less than a component needs are enough to refuse it by its name.
void check_short_components(const Folder& folder) {
  for (const auto& [name, blob] : folder.bytes)
    for (const auto by : {int64_t{64}, static_cast<int64_t>(blob.size())}) {
      std::string said;
      try {
        tersely::open(folder.description, folder.components(name, by));
      } catch (const std::invalid_argument& error) {
        said = error.what();
      }
      check(said.find("'" + name + "'") != std::string::npos,
            "component " + name + " is " + std::to_string(by) + " bytes short, and what is said is: " + said);
    }
}

void check_json() {
  doing = "JSON";
  using tersely::Json;
  const Json json = Json::parse(R"( {"a": [1, -20, {"b": "x\n\u0041"}], "c": null, "d": true} )");
  check(json.at("a").array()[1].number() == -20 && json.at("c").is_null() && json.find("e") == nullptr, "a value");
  check(json.at("a").array()[2].at("b").string() == "x\nA", "a string");
  for (const char* wrong : {"", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "01", "1.5", "1e3",
                            "99999999999999999999", "\"x", "\"\\q\"", "nul", "1 2", "\"\\u00ff\"", "{1:2}", "-"}) {
    bool refused = false;
    try {
      Json::parse(wrong);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    check(refused, std::string("accepted: ") + wrong);
  }
  bool refused = false;
  try {
    Json::parse(std::string(100000, '['));
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  check(refused, "accepted: deep nesting");
}

}  // namespace

int main(int count, char** arguments) {
  check_json();
  for (int i = 1; i < count; ++i) {
    doing = arguments[i];
    const Folder folder(arguments[i]);
    const auto matrix = tersely::open(folder.description, folder.components());
    check_decoding(*matrix, folder);
    check_short_components(folder);
    if (matrix->products() == tersely::Products::kFloats) {
      for (const int64_t batch : {1, 3, 9, 40})
        for (const bool transposed : {false, true}) check_floats(*matrix, folder, batch, transposed);
    } else if (matrix->products() != tersely::Products::kNone) {
      check_integers(*matrix, folder);
    }
  }
  std::printf("%d tensors\n", count - 1);
  return 0;
}
