// The model of a tensor's words: each symbol by its place and by what lies around it.
//
// A tensor is seen with four axes, C order, the last one fastest: [rows, 1, 1, columns] of a matrix. A context is a
// coordinate, neighbours before in the order of the words, or running averages of magnitudes along axes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tersely/storage/mixing/bits.hpp"
#include "tersely/storage/mixing/mixer.hpp"
#include "tersely/storage/mixing/word_form.hpp"

namespace tersely::storage {

using Axes = std::array<size_t, 4>;

/// What symbols can be told by; a form has up to kMaxChosen of them.
inline constexpr size_t kWordContexts = 12;
inline constexpr size_t kMaxChosen = 8;
/// What signs can be told by.
inline constexpr size_t kSignContexts = 6;

template <size_t kContexts>
class WordsModel {
 public:
  WordsModel(const WordForm& form, const Axes& axes)
      : form_(form),
        splitter_(form),
        tree_(form.logs),
        axes_(axes),
        strides_{axes[1] * axes[2] * axes[3], axes[2] * axes[3], axes[3], 1},
        words_(axes[0] * strides_[0]),
        symbols_(kContexts, lines_for(words_), std::min(form.depth, 4U), kSets, {60, 15, 3}),
        alone_(tree_.nodes.size(), kNewSlot),
        signs_(std::max(1, std::popcount(form.signs)), lines_for(words_ / 4), 0, 1, {60, 15, 3}),
        marks_(kMarkContexts, 1 << 12, 0, 2, {20, 30, 6}),
        lowest_(kLowContexts, 1 << 12, 4, 4, {60, 25, 3}),
        seen_(words_),
        turned_(words_) {
    describe();
    for (size_t axis = 0; axis < 4; ++axis) averages_[axis].assign(axes[axis], kUnknown);
    outer_.assign(axes[0] * axes[1], kUnknown);
    inner_.assign(axes[2] * axes[3], kUnknown);
  }

  /// Codes all words: `load(k)` gives word k (what it gives is not looked at where a decoder codes), `store(k, word)`
  /// takes it. low: the bits that are not modelled.
  template <class Coder, class Bits, class Load, class Store>
  void code(Coder& coder, Bits& low, Load&& load, Store&& store) {
    Coder own = coder;  // in registers
    Bits own_low = low;
    std::array<size_t, 4> place{};
    for (size_t k = 0; k < words_; ++k) {
      store(k, one(own, own_low, load(k), k, place));
      for (size_t axis = 4; axis-- > 0;) {
        if (++place[axis] < axes_[axis] || axis == 0) break;
        place[axis] = 0;
      }
    }
    coder = own;
    low = own_low;
  }

 private:
  static constexpr size_t kSets = 32, kMarkContexts = 4, kLowContexts = 5;
  static constexpr int32_t kUnknown = -1;
  enum Mark : uint32_t { kZero, kTail };

  static size_t lines_for(size_t words) {
    size_t lines = 1 << 8;
    while (lines < words * 2 && lines < 1 << 16) lines *= 2;
    return lines;
  }

  // What contexts say of a symbol: a class (up to 254) and a level in eighths of an octave.
  void describe() {
    const bool floating = form_.kind == WordKind::floating;
    for (uint32_t symbol = 0; symbol < form_.logs.size(); ++symbol) {
      const uint32_t magnitude = symbol + form_.smallest;
      const uint32_t octave = magnitude == 0 ? 0 : static_cast<uint32_t>(std::bit_width(magnitude) - 1);
      uint32_t level, kind;
      if (floating) {
        level = form_.top >= 3 ? magnitude >> (form_.top - 3) : magnitude << (3 - form_.top);
        kind = symbol >> std::max(0, form_.top - 1);
      } else {
        level = magnitude < 8 ? magnitude * 3 : octave << 3 | (magnitude >> (octave - 3) & 7);
        kind = magnitude < 16 ? magnitude : level - 16;
      }
      levels_.push_back(static_cast<int32_t>(level));
      kinds_.push_back(static_cast<uint8_t>(std::min<uint32_t>(kind, 253) + 1));
    }
  }

  template <class Coder, class Bits>
  [[gnu::always_inline]] uint64_t one(Coder& coder, Bits& low, uint64_t word, size_t k,
                                      const std::array<size_t, 4>& place) {
    Word parts = Coder::kEncodes ? splitter_.split(word) : Word{};
    std::array<uint32_t, 4> near{}, sign_near{};
    for (size_t axis = 0; axis < 4; ++axis)
      if (place[axis] > 0) {
        near[axis] = seen_[k - strides_[axis]];
        sign_near[axis] = turned_[k - strides_[axis]];
      }
    const uint32_t second = place[3] > 1 ? seen_[k - 2] : 0;
    parts.symbol = symbol(coder, parts.symbol, place, near, second);
    const bool at_zero = splitter_.at_zero(parts.symbol);
    bool zero = at_zero && form_.kind != WordKind::floating;
    if (at_zero && !zero) {
      zero = mark(coder, kZero, !parts.negative && parts.low == 0, near, place);
    }
    if (zero) {
      parts.negative = false;
      parts.low = 0;
    } else {
      parts.negative = form_.signs != 0 ? sign(coder, parts, k, place, sign_near) : low.bits(parts.negative, 1) != 0;
      if (const int bits = form_.low_bits(); bits > 0) parts.low = low_bits(coder, low, parts, bits, near, place);
    }
    learn(parts.symbol, k, place);
    turned_[k] = static_cast<uint8_t>(zero ? 0 : 1 + parts.negative);
    return Coder::kEncodes ? word : splitter_.join(parts);
  }

  template <class Coder, class Bits>
  [[gnu::always_inline]] uint64_t low_bits(Coder& coder, Bits& low, const Word& parts, int bits,
                                           const std::array<uint32_t, 4>& near, const std::array<size_t, 4>& place) {
    const uint64_t value = parts.low;
    if (form_.tail != 0) {
      const int tail = form_.tail - form_.zeros;
      last_tail_ = mark(coder, kTail, (value & ((uint64_t{1} << tail) - 1)) == 0, near, place);
      if (last_tail_) return low.bits(value >> tail, bits - tail) << tail;
    }
    if (form_.modelled == 0) return low.bits(value, bits);
    const uint64_t above = low.bits(value >> form_.modelled, bits - form_.modelled);
    return above << form_.modelled | lowest(coder, parts, above >> std::max(0, bits - form_.modelled - 3));
  }

  template <class Coder>
  [[gnu::always_inline]] uint64_t lowest(Coder& coder, const Word& parts, uint64_t next) {
    const auto after = static_cast<uint32_t>(next);
    const std::array<uint32_t, kLowContexts> contexts = {
        hash(1, 0),
        hash(2, parts.symbol),
        hash(3, parts.symbol, 1 + after),
        hash(4, last_lowest_),
        hash(5, parts.symbol >> form_.top, parts.negative),
    };
    Mixer::Mixed<kLowContexts> mixed;
    for (size_t c = 0; c < kLowContexts; ++c) mixed.lines[c] = lowest_.line(contexts[c]);
    uint32_t local = 1;
    for (int bit = form_.modelled; bit-- > 0;) {
      const size_t set = static_cast<size_t>(bit);
      local = local * 2 + lowest_.code(coder, (parts.low >> bit & 1) != 0, mixed, kLowContexts, local, set);
    }
    last_lowest_ = local - (1U << form_.modelled);
    return last_lowest_;
  }

  template <class Coder>
  [[gnu::always_inline]] uint32_t symbol(Coder& coder, uint32_t given, const std::array<size_t, 4>& place,
                                         const std::array<uint32_t, 4>& near, uint32_t second) {
    int32_t node = tree_.root;
    if constexpr (kContexts > 1) {
      std::array<uint32_t, kContexts> hashes;
      hash_contexts(hashes, place, near, second);
      Mixer::Mixed<kContexts> mixed;
      uint32_t local = 1;
      for (uint32_t depth = 0; depth < form_.depth && node >= 0; ++depth) {
        if (depth % 4 == 0) {
          local = 1;
          for (size_t c = 0; c < kContexts; ++c)
            mixed.lines[c] = symbols_.line(depth == 0 ? hashes[c] : hash(hashes[c], static_cast<uint32_t>(node)));
        }
        const SymbolTree::Node& at = tree_.nodes[static_cast<size_t>(node)];
        const size_t set = std::min<size_t>(depth, kSets - 1);
        const bool bit = symbols_.code(coder, given >= at.split, mixed, kContexts, local, set);
        local = local * 2 + bit;
        node = at.child[bit];
      }
    }
    while (node >= 0) {
      const SymbolTree::Node& at = tree_.nodes[static_cast<size_t>(node)];
      node = at.child[code_alone(coder, given >= at.split, alone_[static_cast<size_t>(node)], tables_)];
    }
    return static_cast<uint32_t>(-1 - node);
  }

  static uint32_t level_of(int32_t average) { return average == kUnknown ? 4095 : static_cast<uint32_t>(average) >> 9; }

  [[gnu::always_inline]] void hash_contexts(std::array<uint32_t, kContexts>& hashes, const std::array<size_t, 4>& place,
                                            const std::array<uint32_t, 4>& near, uint32_t second) const {
    const auto at = [&](size_t axis) { return static_cast<uint32_t>(place[axis]); };
    const auto average = [&](size_t axis) { return level_of(averages_[axis][place[axis]]); };
    size_t count = 0;
    for (uint32_t left = form_.contexts; left != 0; left &= left - 1) {
      uint32_t what = 0, more = 0;
      const auto context = static_cast<uint32_t>(std::countr_zero(left));
      switch (context) {
        case 0:
          break;
        case 1:
        case 2:
        case 3:
        case 4:
          what = at(context - 1);
          break;
        case 5:
          what = at(2), more = at(3);
          break;
        case 6:
          what = near[3] << 8 | second;
          break;
        case 7:
          what = near[3] << 8 | near[2];
          break;
        case 8:
          what = near[1] << 8 | near[0];
          break;
        case 9:
          what = average(3) << 12 | average(2), more = average(1);
          break;
        case 10:
          what = average(0) << 12 | level_of(recent_);
          break;
        default:
          what =
              level_of(outer_[place[0] * axes_[1] + place[1]]) << 12 | level_of(inner_[place[2] * axes_[3] + place[3]]);
      }
      hashes[count++] = hash(context + 1, what, more);
    }
  }

  template <class Coder>
  [[gnu::always_inline]] bool sign(Coder& coder, const Word& parts, size_t k, const std::array<size_t, 4>& place,
                                   const std::array<uint32_t, 4>& near) {
    const uint32_t second = place[3] > 1 ? turned_[k - 2] : 3;
    Mixer::Mixed<kSignContexts> mixed;
    mixed.lines[0] = signs_.line(hash(1, kinds_[parts.symbol]));
    size_t count = 1;
    for (uint32_t left = form_.signs & (form_.signs - 1U); left != 0; left &= left - 1) {
      uint32_t what = 0, more = 0;
      const auto context = static_cast<uint32_t>(std::countr_zero(left));
      switch (context) {
        case 1:
          what = near[3] * 4 + second;
          break;
        case 2:
          what = near[2] * 4 + near[3];
          break;
        case 3:
          what = near[1] * 4 + near[0];
          break;
        case 4:
          what = static_cast<uint32_t>(place[0]);
          break;
        default:
          what = static_cast<uint32_t>(place[3]), more = static_cast<uint32_t>(place[1] * axes_[2] + place[2]);
      }
      mixed.lines[count++] = signs_.line(hash(context + 1, what, more));
    }
    if (count == 1) return code_alone(coder, parts.negative, *mixed.lines[0], tables_);
    return signs_.code(coder, parts.negative, mixed, count, 0, 0);
  }

  template <class Coder>
  [[gnu::always_inline]] bool mark(Coder& coder, Mark which, bool given, const std::array<uint32_t, 4>& near,
                                   const std::array<size_t, 4>& place) {
    const std::array<uint32_t, kMarkContexts> contexts = {
        hash(1, which),
        hash(2, which, last_tail_),
        hash(3, which, static_cast<uint32_t>(place[0])),
        hash(4, which, near[3]),
    };
    Mixer::Mixed<kMarkContexts> mixed;
    for (size_t c = 0; c < kMarkContexts; ++c) mixed.lines[c] = marks_.line(contexts[c]);
    return marks_.code(coder, given, mixed, kMarkContexts, 0, which);
  }

  [[gnu::always_inline]] void learn(uint32_t symbol, size_t k, const std::array<size_t, 4>& place) {
    seen_[k] = kinds_[symbol];
    const int32_t level = levels_[symbol];
    const auto move = [level](int32_t& average, int shift) {
      average = average == kUnknown ? level << 8 : average + (((level << 8) - average) >> shift);
    };
    // A branch that is always the same costs less than an average that nobody asks for.
    if ((form_.contexts & 1U << 9) != 0)
      for (size_t axis = 1; axis < 4; ++axis) move(averages_[axis][place[axis]], 5);
    if ((form_.contexts & 1U << 10) != 0) {
      move(averages_[0][place[0]], 5);
      move(recent_, 4);
    }
    if ((form_.contexts & 1U << 11) != 0) {
      move(outer_[place[0] * axes_[1] + place[1]], 3);
      move(inner_[place[2] * axes_[3] + place[3]], 5);
    }
  }

  const Tables& tables_ = tables();
  const WordForm& form_;
  WordSplitter splitter_;
  SymbolTree tree_;
  Axes axes_;
  std::array<size_t, 4> strides_;
  size_t words_;
  Mixer symbols_;
  std::vector<Slot> alone_;  // of each node, for decisions that are not mixed
  Mixer signs_;
  Mixer marks_;
  Mixer lowest_;
  std::vector<uint8_t> seen_, turned_;  // class of each symbol, 1 and more; sign, 1 or 2, 0 of zeros
  std::vector<int32_t> levels_;
  std::vector<uint8_t> kinds_;
  std::array<std::vector<int32_t>, 4> averages_;  // of levels, in 256ths
  std::vector<int32_t> outer_, inner_;
  int32_t recent_ = kUnknown;
  bool last_tail_ = false;
  uint32_t last_lowest_ = 0;
};

}  // namespace tersely::storage
