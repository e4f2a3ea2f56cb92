// What a walk asks of a coded matrix, and what sources ask of each other: whatever codes them, chunks, symbols, values
// and masks come through these. Calls are made for each segment, or for blocks of 64 chunks, never for each chunk.
//
// A new way to code (which positions hold a value x how a word comes of symbols x how symbols are kept) is one
// `Source`: where kernels for its combination are in the table, `begin` points the cursor at what they take; everywhere
// else it is an `ExpandedSource`, which writes the segment's words to scratch, where the kernels of bitmaps walk them.
#pragma once

#include <memory>
#include <utility>

#include "tersely/backends/cpu/kernels/table.hpp"
#include "tersely/backends/cpu/matrix/geometry.hpp"

namespace tersely {

// Bytes of scratch that a source needs, one per worker: expanded levels, then values (or symbols), then masks of a
// segment, then what a source keeps between the calls for a segment.
inline constexpr int64_t kLevelsScratchBytes = 2 * kLevelScratchBytes;
inline constexpr int64_t kValuesScratchBytes = kSegmentWeights * 4 + kSlackBytes;
inline constexpr int64_t kMasksScratchBytes = kSegmentChunks * 8 + kSlackBytes;
inline constexpr int64_t kStateScratchBytes = 256;
inline constexpr int64_t kStateScratch = kLevelsScratchBytes + kValuesScratchBytes + kMasksScratchBytes;
inline constexpr int64_t kExpandScratchBytes = kStateScratch + kStateScratchBytes;
static_assert(kStateScratch % 64 == 0);

// The words of a matrix, chunk by chunk. Safe under several threads.
class Source {
 public:
  static constexpr int64_t kAllChunks = -1;

  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  // Points the cursor at the first chunk of a segment. `scratch` has kExpandScratchBytes at a 64-byte boundary and
  // lives as long as the cursor.
  virtual void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const = 0;
  // Makes the values of the next chunks ready, at most step() of them, or of all that the segment has. Called where
  // step() is not 0 alone.
  virtual void make_ready(const KernelTable&, int64_t /*chunks*/, uint8_t* /*scratch*/, Cursor&) const {}
  // Points the cursor at a panel of a unit of several, as if those before it had been walked. False: it cannot, and
  // they have to be.
  virtual bool begin_panel(const KernelTable&, int64_t /*panel*/, uint8_t* /*scratch*/, Cursor&) const { return false; }
  // Asks memory for what begin() would wait for. Returns where the bytes lie that kernels then read as they go; null
  // where nothing is known of them.
  virtual const uint8_t* prefetch(int64_t /*segment*/) const { return nullptr; }
  // The word of one weight.
  virtual uint32_t access(const KernelTable& table, int64_t matrix, int64_t row, int64_t column) const = 0;

  // What kernels are told, and the kernels themselves, by the kind of tail.
  const Parameters& parameters() const { return parameters_; }
  const CodeKernels (&kernels(const KernelTable& table) const)[3] {
    return table.codes[static_cast<int>(parameters_.dtype)][code_index(parameters_)];
  }
  Tail tail(int64_t panel) const {
    const bool is_short = short_panels_ != nullptr && (short_panels_[panel / 8] >> (panel % 8) & 1) != 0;
    return is_short ? parameters_.short_tail : parameters_.tail;
  }
  // Chunks that may be decoded between calls of make_ready; 0: begin makes everything ready.
  int64_t step() const { return step_; }

 protected:
  explicit Source(const Parameters& parameters) : parameters_(parameters) {}

  Parameters parameters_;
  const uint8_t* short_panels_ = nullptr;
  int64_t step_ = 0;
};

// Words that are expanded to scratch a segment at a time: the way of every combination without kernels of its own. They
// are walked as a bitmap without zeros.
class ExpandedSource : public Source {
 public:
  void begin(const KernelTable& table, int64_t segment, uint8_t* scratch, Cursor& cursor) const final;

 protected:
  ExpandedSource(const Geometry& geometry, DType dtype);
  // Writes the words of all chunks of a segment in vector order. scratch: as of begin; words lie in its room for
  // values, the last quarter of which may hold symbols until words take their place.
  virtual void expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* words) const = 0;
  const Geometry& geometry() const { return geometry_; }

 private:
  const Geometry geometry_;
};

// Small symbols of a matrix, a byte each: indices of a table, numbers that have a scale. Safe under several threads.
class SymbolSource {
 public:
  SymbolSource() = default;
  SymbolSource(const SymbolSource&) = delete;
  SymbolSource& operator=(const SymbolSource&) = delete;
  virtual ~SymbolSource() = default;
  // Writes the symbols of all chunks of a segment, at most kSegmentWeights bytes, position column * 16 + row in a
  // chunk. `scratch` has kLevelsScratchBytes.
  virtual void expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* symbols) const = 0;
  // The symbol of one weight.
  virtual uint8_t access(int64_t matrix, int64_t row, int64_t column) const = 0;
};

// The words of a source of bytes, whatever says where they are and codes them, as symbols.
class SourceSymbols final : public SymbolSource {
 public:
  SourceSymbols(const Geometry& geometry, std::unique_ptr<const Source> source)
      : geometry_(geometry), source_(std::move(source)) {}
  void expand(const KernelTable& table, int64_t segment, uint8_t* scratch, uint8_t* symbols) const override;
  uint8_t access(int64_t matrix, int64_t row, int64_t column) const override;

 private:
  const Geometry geometry_;
  const std::unique_ptr<const Source> source_;
};

// Consecutive groups of 64 values; groups are counted through the whole sequence.
struct ValueGroups {
  int64_t segment, first, count;
};

// A sequence of words in segments of whole groups, at most kSegmentWeights words each. Safe under several threads.
class ValueSource {
 public:
  ValueSource() = default;
  ValueSource(const ValueSource&) = delete;
  ValueSource& operator=(const ValueSource&) = delete;
  virtual ~ValueSource() = default;
  // Points the cursor at the first group of a segment. `scratch` has kLevelsScratchBytes and lives as long as the
  // cursor.
  virtual void begin(const KernelTable& table, const ValueGroups& groups, uint8_t* scratch, Cursor& cursor) const = 0;
  // Decodes the next groups, word after word, to `out`: as many as a multiple of kTileChunks, or all that are left.
  virtual void next(const KernelTable& table, Cursor& cursor, int64_t groups, uint8_t* out) const = 0;
  // The words that next_indices gives the indices of; null where there is no such table.
  virtual const Palette* palette() const { return nullptr; }
  // As next, but the index of each word, a byte each, whose bits above the index may be anything.
  virtual void next_indices(const KernelTable&, Cursor&, int64_t /*groups*/, uint8_t* /*out*/) const {}
  // Word `index` of a segment, index < 64 * count.
  virtual uint32_t access(const ValueGroups& groups, int64_t index) const = 0;
};

}  // namespace tersely
