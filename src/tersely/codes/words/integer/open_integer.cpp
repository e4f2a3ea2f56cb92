// Opening integers: as fields, as distances under split, as pairs of 4-bit values in a matrix of their own.
#include <cstring>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/matrix/scratch.hpp"
#include "tersely/codes/words/integer/fields.hpp"
#include "tersely/codes/words/integer/nibbles.hpp"
#include "tersely/codes/words/split/split_matrix.hpp"

namespace tersely {
namespace {

class IntegerMatrix final : public CodedMatrix {
 public:
  IntegerMatrix(const Seen& seen, const std::string& dtype, const Components& components)
      : offsets_(seen.offsets), fields_(seen.geometry, dtype, components), view_(fields_.view()) {}
  const Geometry& geometry() const override { return view_.geometry; }
  int64_t word_bytes() const override { return 1; }
  Products products() const override { return Products::kIntegers; }
  bool has_chunks() const override { return true; }
  void decode_chunks(int64_t unit, uint8_t* /*scratch*/, uint8_t* out) const override {
    integer_chunks(view_, active_table(), unit, out);
  }
  void decode_window(int64_t first_panel, int64_t last_panel, int64_t first_element, int64_t elements, uint8_t* out,
                     int threads) const override {
    integer_decode_window(view_, active_table(), first_panel, last_panel, first_element, elements, out, threads);
  }
  uint32_t access(int64_t matrix, int64_t row, int64_t column) const override {
    return integer_access(view_, matrix, row, column);
  }
  int64_t pick(const int64_t* wanted, int64_t count, uint8_t* out, int threads) const override {
    return integer_pick_rows(view_, active_table(), wanted, count, out, threads);
  }
  bool multiply_integers(const IntegerRows& rows, int threads) const override {
    require(view_.geometry.count == 1, "a product needs a matrix");
    require(rows.groups == 1 || view_.geometry.columns / rows.groups % kFieldBlockColumns == 0,
            "groups are whole blocks of columns");
    return integer_linear(view_, active_table(), rows, threads);
  }

 private:
  const std::shared_ptr<const std::vector<int64_t>> offsets_;
  const IntegerFields fields_;
  const IntegerView& view_;
};

// Distances from a centre, whose folded words are under split.
class DistanceMatrix final : public WalkedMatrix {
 public:
  DistanceMatrix(const Seen& seen, std::unique_ptr<const Source> folded, DType written, uint16_t centre, bool is_signed)
      : WalkedMatrix(seen, std::move(folded), written, {centre}), is_signed_(is_signed) {}
  Products products() const override { return word_bytes() == 1 ? Products::kIntegers : Products::kNone; }
  bool multiply_integers(const IntegerRows& rows, int threads) const override {
    require(geometry().count == 1 && word_bytes() == 1, "a product needs a matrix of 8-bit weights");
    require(rows.groups == 1, "distances have no groups");
    return walked_integer_linear(view(), is_signed_, active_table(), rows, threads);
  }

 private:
  const bool is_signed_;
};

std::unique_ptr<CodedMatrix> open_distances(const Opening& opening) {
  const DType like = dtype_of(opening.parameters().at("bit_layout").string());
  const bool wide = opening.dtype == "int16" || opening.dtype == "uint16";
  const bool is_signed = wide ? opening.dtype == "int16" : flip_of(opening.dtype) != 0;
  require(word_bytes_of(like) <= (wide ? 2 : 1), "folded words are at most as long as what they stand for");
  auto folded =
      split_source(opening.geometry(), opening.node.child("distances"), like, opening.components.under("distances"));
  // float16 has the vector order of bytes.
  const DType written = wide && word_bytes_of(like) == 1 ? DType::kFloat16 : like;
  const auto centre = static_cast<uint16_t>(opening.parameters().at("centre").number());
  return std::make_unique<DistanceMatrix>(opening.seen, std::move(folded), written, centre, is_signed);
}

std::unique_ptr<CodedMatrix> open_nibbles(const Opening& opening) {
  require(opening.dtype == "uint8", "nibbles are of bytes");
  std::vector<int64_t> wide = opening.shape;
  if (wide.empty()) wide.push_back(1);
  wide.back() = checked_product(wide.back(), 2);
  const bool is_signed = opening.parameters().flag("signed");
  const Node& child = opening.node.child("nibbles");
  // Columns are as they are: offsets of bytes would be none of their values.
  const Seen seen = see(wide, opening.view, "out_in", "as_is");
  const std::string dtype = child.formulation == "integer" ? "uint8" : "index";
  require(child.children.empty() && opening.view != "convolution", "values of nibbles are fields or under 'split'");
  auto values = open_node({child, dtype, wide, opening.view, seen, opening.components.under("nibbles")});
  return std::make_unique<NibbleMatrix>(opening.seen, opening.view == "folded", std::move(values), is_signed);
}

}  // namespace

uint8_t flip_of(const std::string& dtype) {
  require(dtype == "int8" || dtype == "uint8", "integer codes int8 and uint8");
  return dtype == "int8" ? 0x80 : 0;
}

IntegerFields::IntegerFields(const Geometry& g, const std::string& dtype, const Components& components) {
  view_.geometry = g;
  view_.flip = flip_of(dtype);
  view_.groups = components.index("groups", checked_product(g.units, 2));
  for (int64_t unit = 0; unit < g.units; ++unit)
    if (view_.groups[unit * 2] > 8) components.refuse("groups", "has a group of more than 8 bits");
  starts_ = field_starts(g, view_.groups);
  view_.starts = starts_.data();
  view_.fields = components.stream("fields", starts_.back());
  view_.directory = components.directory(g.segments, 1, kSegmentWeights);
  const auto listed = static_cast<int64_t>(view_.directory[g.segments]);
  view_.positions = components.stream("escape_positions", checked_product(listed, 2));
  view_.escapes = components.stream("escapes", listed);
}

std::unique_ptr<CodedMatrix> open_integer(const Opening& opening) {
  if (opening.node.children.empty())
    return std::make_unique<IntegerMatrix>(opening.seen, opening.dtype, opening.components);
  return opening.node.children.count("nibbles") != 0 ? open_nibbles(opening) : open_distances(opening);
}

}  // namespace tersely
