// See palette.hpp.
#include "tersely/codes/words/palette/palette.hpp"

#include <atomic>
#include <bit>
#include <cstring>
#include <mutex>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/matrix/gather.hpp"
#include "tersely/backends/cpu/matrix/word_map.hpp"

namespace tersely {
namespace {

constexpr int kMaxWords = WordMap::kMaxWords;
constexpr int64_t kBlockWords = 1 << 16;

template <class Word>
int count_words(const uint8_t* words, int64_t count, uint32_t* found, uint64_t* counts, int threads) {
  const auto* in = reinterpret_cast<const Word*>(words);
  WordMap all;
  uint64_t totals[kMaxWords] = {};
  std::mutex merging;
  std::atomic<bool> fits{true};
  parallel_for(threads, ceil_div(count, kBlockWords), [&](int64_t block) {
    if (!fits) return;
    WordMap own;
    uint32_t own_counts[kMaxWords] = {};
    const int64_t last = std::min(count, (block + 1) * kBlockWords);
    for (int64_t i = block * kBlockWords; i < last; ++i) {
      const int number = own.add(in[i]);
      if (number < 0) {
        fits = false;
        return;
      }
      ++own_counts[number];
    }
    const std::lock_guard<std::mutex> lock(merging);
    for (int k = 0; k < own.size(); ++k) {
      const int number = all.add(own.word(k));
      if (number < 0) {
        fits = false;
        return;
      }
      totals[number] += own_counts[k];
    }
  });
  if (!fits) return -1;
  for (int k = 0; k < all.size(); ++k) {
    found[k] = all.word(k);
    counts[k] = totals[k];
  }
  return all.size();
}

template <class Word>
bool index_words(const uint8_t* words, int64_t count, const uint32_t* table, int entries, uint8_t* indices,
                 int threads) {
  const auto* in = reinterpret_cast<const Word*>(words);
  WordMap map;
  for (int k = 0; k < entries; ++k) map.add(table[k]);
  std::atomic<bool> same{true};
  parallel_for(threads, ceil_div(count, kBlockWords), [&](int64_t block) {
    const int64_t last = std::min(count, (block + 1) * kBlockWords);
    for (int64_t i = block * kBlockWords; i < last; ++i) {
      const int number = map.number(in[i]);
      if (number < 0) same = false;
      indices[i] = static_cast<uint8_t>(number);
    }
  });
  return same;
}

uint32_t as_float32(DType dtype, uint32_t word) {
  if (dtype == DType::kFloat32) return word;
  if (dtype == DType::kBfloat16) return word << 16;
  return std::bit_cast<uint32_t>(float16_to_float(static_cast<uint16_t>(word)));
}

void finish(Lookup& lookup, int index_bits) {
  uint32_t low = 0;
  for (int i = 0; i < 256; ++i) {
    lookup.dwords[i] = lookup.dwords[i & ((1 << index_bits) - 1)];
    low |= lookup.dwords[i] & 0xFFFF;
    for (int k = 0; k < 4; ++k) lookup.planes[k][i] = static_cast<uint8_t>(lookup.dwords[i] >> (8 * k));
  }
  lookup.upper_only = low == 0;
}

}  // namespace

void pack_chunk(const uint8_t* indices, int bits, uint8_t* out) {
  if (bits == 8) {
    std::memcpy(out, indices, 64);
    return;
  }
  int shift = 0;
  if (bits & 4) {
    for (int b = 0; b < 32; ++b) out[b] = static_cast<uint8_t>((indices[b] & 15) | (indices[b + 32] & 15) << 4);
    out += 32;
    shift = 4;
  }
  if (bits & 2) {
    for (int b = 0; b < 16; ++b) {
      int byte = 0;
      for (int k = 0; k < 4; ++k) byte |= (indices[b + 16 * k] >> shift & 3) << (2 * k);
      out[b] = static_cast<uint8_t>(byte);
    }
    out += 16;
    shift += 2;
  }
  if (bits & 1) {
    uint64_t plane = 0;
    for (int i = 0; i < 64; ++i) plane |= static_cast<uint64_t>(indices[i] >> shift & 1) << i;
    std::memcpy(out, &plane, 8);
  }
}

void make_palette(Palette& palette, DType dtype, const uint8_t* words, int entries) {
  palette = {};
  palette.index_bits = std::max(1, static_cast<int>(std::bit_width(static_cast<unsigned>(entries - 1))));
  const int word_bytes = kFields[static_cast<int>(dtype)].word_bytes;
  for (int i = 0; i < entries; ++i) {
    std::memcpy(&palette.words.dwords[i], words + i * word_bytes, static_cast<size_t>(word_bytes));
    palette.floats.dwords[i] = as_float32(dtype, palette.words.dwords[i]);
  }
  finish(palette.words, palette.index_bits);
  finish(palette.floats, palette.index_bits);
}

int palette_count(const uint8_t* words, int64_t count, int word_bytes, uint32_t* found, uint64_t* counts, int threads) {
  return word_bytes == 4 ? count_words<uint32_t>(words, count, found, counts, threads)
                         : count_words<uint16_t>(words, count, found, counts, threads);
}

bool palette_indices(const uint8_t* words, int64_t count, int word_bytes, const uint32_t* table, int entries,
                     uint8_t* indices, int threads) {
  return word_bytes == 4 ? index_words<uint32_t>(words, count, table, entries, indices, threads)
                         : index_words<uint16_t>(words, count, table, entries, indices, threads);
}

void palette_pack(const uint8_t* indices, const Geometry& g, int bits, uint8_t* out, int threads) {
  parallel_for(threads, g.panels, [&](int64_t panel) {
    uint8_t tile[32][16];
    for (int64_t chunk = 0; chunk < g.chunks_per_panel; chunk += kTileChunks) {
      const int64_t chunks = std::min(kTileChunks, g.chunks_per_panel - chunk);
      gather_tile(indices, g, panel, chunk * 4, static_cast<int>(chunks * 4), tile);
      for (int64_t j = 0; j < chunks; ++j)
        pack_chunk(&tile[j * 4][0], bits, out + (panel * g.chunks_per_panel + chunk + j) * 8 * bits);
    }
  });
}

}  // namespace tersely
