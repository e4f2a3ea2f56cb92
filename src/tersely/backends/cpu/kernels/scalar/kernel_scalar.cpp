// Plain C++ kernels: the readable native form of every operator, the fallback of every other instruction set.
// Compiled without auto-vectorisation, so that it stays a fair baseline.
#include <bit>
#include <cmath>
#include <cstring>

#include "tersely/backends/cpu/kernels/scalar/floats.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

uint64_t load_word(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, 8);
  return word;
}

// One group of 64 symbols of a layered level: planes `plane_stride` words apart, survivors taken from the level below.
void decode_group(const uint8_t* planes, int64_t plane_stride, int width, const uint8_t* table, const uint8_t*& below,
                  const uint8_t* below_end, uint8_t* symbols) {
  uint64_t words[kMaximumWidth];
  for (int k = 0; k < width; ++k) words[k] = load_word(planes + k * plane_stride * 8);
  const unsigned survivor = (1u << width) - 1;
  for (int i = 0; i < 64; ++i) {
    unsigned field = 0;
    for (int k = 0; k < width; ++k) field |= static_cast<unsigned>(words[k] >> i & 1) << k;
    symbols[i] = table[field];
    if (field == survivor) {
      symbols[i] = *below;
      if (below < below_end) ++below;
    }
  }
}

void expand_levels(const SplitStreams& view, int64_t segment, uint8_t* scratch, Cursor& cursor) {
  const Parameters& p = view.parameters;
  const Streams& s = view.streams;
  if (p.code == SymbolCode::kConstant) return;
  const uint64_t* entry = s.directory + segment * s.directory_columns;
  const uint64_t* next = entry + s.directory_columns;
  const int escapes = s.directory_columns - 1;
  const uint8_t* below = s.escapes + entry[escapes];
  const uint8_t* below_end = s.escapes + next[escapes];
  for (int level = p.levels - 1; level >= 1; --level) {
    const int64_t groups = static_cast<int64_t>(next[level - 1] - entry[level - 1]);
    const uint8_t* planes = s.levels[level] + entry[level - 1] * 8 * p.widths[level];
    uint8_t* out = scratch + (level & 1) * kLevelScratchBytes;
    for (int64_t g = 0; g < groups; ++g, planes += 8 * p.widths[level])
      decode_group(planes, 1, p.widths[level], p.tables[level], below, below_end, out + g * 64);
    below = out;
    below_end = out + groups * 64;
    std::memset(out + groups * 64, 0, 64);
  }
  cursor.survivors = below;
  cursor.survivors_end = below_end;
}

template <DType D, Tail T>
void decode_tile(const Parameters& p, Cursor& cursor, int64_t c, uint8_t*& out) {
  constexpr Fields f = kFields[static_cast<int>(D)];
  const uint8_t* codes = cursor.tile;
  const uint8_t* odd = codes + c * p.code_bytes;
  const uint8_t* bytes = odd + c * 8 * f.odd_count;
  const bool plane = f.has_byte && !p.byte_is_constant;
  const uint8_t* tail = bytes + (plane ? c * 64 : 0);
  for (int64_t j = 0; j < c; ++j) {
    uint8_t symbols[64];
    if (p.code == SymbolCode::kConstant) {
      std::memset(symbols, p.tables[0][0], 64);
    } else if (p.code == SymbolCode::kPacked) {
      for (int i = 0; i < 64; ++i) {
        const unsigned field = i < 32 ? codes[j * 32 + i] & 15u : codes[j * 32 + i - 32] >> 4;
        symbols[i] = p.tables[0][field];
        if (field == 15) {
          symbols[i] = *cursor.survivors;
          if (cursor.survivors < cursor.survivors_end) ++cursor.survivors;
        }
      }
    } else {
      decode_group(codes + j * 8, c, p.widths[0], p.tables[0], cursor.survivors, cursor.survivors_end, symbols);
    }
    for (int column = 0; column < 4; ++column) {
      for (int row = 0; row < 16; ++row) {
        const int at = chunk_position(D, row, column);
        uint32_t head = static_cast<uint32_t>(symbols[at] & ((1u << f.symbol_bits) - 1)) << f.symbol_shift;
        for (int k = 0; k < f.odd_count; ++k)
          if (load_word(odd + (k * c + j) * 8) >> at & 1) head |= f.odd_values[k];
        if (f.has_byte) {
          const uint32_t byte = plane ? bytes[j * 64 + at] : p.byte;
          head |= f.rotated ? byte >> 1 | (byte & 1) << 15 : byte;
        }
        if (D == DType::kFloat32) {
          const int position = tail_position(row, column);
          uint16_t low = 0;
          if (T == Tail::kWord) std::memcpy(&low, tail + (j * 64 + position) * 2, 2);
          if (T == Tail::kBits3)
            for (int k = 0; k < 3; ++k)
              low |= static_cast<uint16_t>((load_word(tail + (k * c + j) * 8) >> position & 1) << (13 + k));
          head = head << 16 | low;
        }
        std::memcpy(out + vector_position(D, row, column) * f.word_bytes, &head, f.word_bytes);
      }
    }
    out += 64 * f.word_bytes;
  }
  cursor.tile = tail + c * kTailBytes[static_cast<int>(T)];
}

template <DType D, Tail T>
void decode_words(const Parameters& p, Cursor& cursor, int64_t chunks, void* out) {
  auto* at = static_cast<uint8_t*>(out);
  for (; chunks > 0; chunks -= kTileChunks)
    decode_tile<D, T>(p, cursor, chunks < kTileChunks ? chunks : kTileChunks, at);
}

float widen(DType dtype, const uint8_t* at) {
  uint32_t word = 0;
  std::memcpy(&word, at, kFields[static_cast<int>(dtype)].word_bytes);
  switch (dtype) {
    case DType::kFloat32:
      return std::bit_cast<float>(word);
    case DType::kBfloat16:
      return std::bit_cast<float>(word << 16);
    case DType::kFloat16:
      return float16_to_float(static_cast<uint16_t>(word));
    case DType::kFloat8E4M3:
      return float8_e4m3_to_float(static_cast<uint8_t>(word));
    default:
      return float16_to_float(static_cast<uint16_t>(word << 8));
  }
}

void widen_words(DType dtype, const void* words, int64_t count, float* out) {
  const auto* at = static_cast<const uint8_t*>(words);
  for (int64_t i = 0; i < count; ++i, at += kFields[static_cast<int>(dtype)].word_bytes) out[i] = widen(dtype, at);
}

template <DType D, Tail T>
void decode_floats(const Parameters& p, Cursor& cursor, int64_t chunks, float* out) {
  constexpr int word_bytes = kFields[static_cast<int>(D)].word_bytes;
  uint8_t tile[kTileChunks * kChunkWeights * 4];
  for (; chunks > 0; chunks -= kTileChunks) {
    const int64_t c = chunks < kTileChunks ? chunks : kTileChunks;
    uint8_t* end = tile;
    decode_tile<D, T>(p, cursor, c, end);
    for (int64_t j = 0; j < c; ++j, out += 64)
      for (int column = 0; column < 4; ++column)
        for (int row = 0; row < 16; ++row)
          out[column * 16 + row] = widen(D, tile + (j * 64 + vector_position(D, row, column)) * word_bytes);
  }
}

void store_rows(DType dtype, const void* words, int64_t rows, int64_t columns, uint8_t* out, int64_t row_stride_bytes) {
  const int word_bytes = kFields[static_cast<int>(dtype)].word_bytes;
  const auto* in = static_cast<const uint8_t*>(words);
  for (int64_t column = 0; column < columns; ++column)
    for (int row = 0; row < rows; ++row)
      std::memcpy(out + row * row_stride_bytes + column * word_bytes,
                  in + (column / 4 * 64 + vector_position(dtype, row, static_cast<int>(column % 4))) * word_bytes,
                  word_bytes);
}

void multiply_floats(const float* w, int64_t panel_stride, int panels, const float* x, int64_t columns, int batch_block,
                     float* y, int64_t y_panel_stride) {
  for (int panel = 0; panel < panels; ++panel)
    for (int b = 0; b < batch_block; ++b)
      for (int row = 0; row < 16; ++row) {
        float sum = 0;
        for (int64_t column = 0; column < columns; ++column)
          sum += w[panel * panel_stride + column * 16 + row] * x[column * batch_block + b];
        y[panel * y_panel_stride + b * 16 + row] += sum;
      }
}

void multiply_rows(const float* w, int64_t w_stride, const float* x, int64_t batch, int64_t columns, float* y,
                   int64_t y_stride) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t column = 0; column < columns; ++column) {
      float sum = 0;
      for (int row = 0; row < 16; ++row) sum += x[b * 16 + row] * w[row * w_stride + column];
      y[b * y_stride + column] += sum;
    }
}

void dense_product(DType dtype, const void* words, int64_t chunks, const float* x, float* sums) {
  const auto* in = static_cast<const uint8_t*>(words);
  const int word_bytes = kFields[static_cast<int>(dtype)].word_bytes;
  for (int row = 0; row < 16; ++row)
    for (int64_t column = 0; column < chunks * 4; ++column)
      sums[row] +=
          x[column] * widen(dtype, in + (column / 4 * 64 + vector_position(dtype, row, column % 4)) * word_bytes);
}

uint64_t read_stream(const uint8_t* bytes, int64_t count_bytes) {
  uint64_t sums[4] = {};
  for (int64_t at = 0; at + 64 <= count_bytes; at += 64)
    for (int k = 0; k < 8; ++k) sums[k % 4] ^= load_word(bytes + at + k * 8);
  return sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
}

template <DType D, Tail T>
void fill_codes(KernelTable& table) {
  for (int code = 0; code < 6; ++code)
    table.codes[static_cast<int>(D)][code][static_cast<int>(T)] = {
        decode_words<D, T>, decode_floats<D, T>, {}, nullptr, {}, nullptr, nullptr};
}

}  // namespace

void fill_scalar_bitmap(KernelTable& table);
void fill_scalar_gaps(KernelTable& table);
void fill_scalar_palette(KernelTable& table);
void fill_scalar_affine(KernelTable& table);
void fill_scalar_encode(KernelTable& table);
void fill_scalar_fields(KernelTable& table);
void fill_scalar_quantise(KernelTable& table);
void fill_scalar_folded(KernelTable& table);
void fill_scalar_blocks(KernelTable& table);
void fill_scalar_n_of_m(KernelTable& table);
void fill_scalar_convolution(KernelTable& table);
void fill_scalar_pairs(KernelTable& table);
void fill_scalar_winograd(KernelTable& table);
void fill_scalar_pool(KernelTable& table);
void fill_scalar_ans(KernelTable& table);
void fill_scalar_tokens(KernelTable& table);
void fill_scalar_depthwise(KernelTable& table);
void fill_scalar_sparse(KernelTable& table);
void fill_scalar_pixels(KernelTable& table);
void fill_scalar_quantised(KernelTable& table);

void fill_scalar(KernelTable& table) {
  table = {};
  table.isa = "scalar";
  table.expand_levels = expand_levels;
  fill_codes<DType::kFloat32, Tail::kNone>(table);
  fill_codes<DType::kFloat32, Tail::kBits3>(table);
  fill_codes<DType::kFloat32, Tail::kWord>(table);
  fill_codes<DType::kBfloat16, Tail::kNone>(table);
  fill_codes<DType::kFloat16, Tail::kNone>(table);
  fill_codes<DType::kFloat8E4M3, Tail::kNone>(table);
  fill_codes<DType::kFloat8E5M2, Tail::kNone>(table);
  for (int code = 0; code < 6; ++code)  // decoded to bytes, never multiplied
    table.codes[static_cast<int>(DType::kIndex)][code][0].decode_words = decode_words<DType::kIndex, Tail::kNone>;
  table.store_rows = store_rows;
  table.multiply_floats = multiply_floats;
  table.multiply_rows = multiply_rows;
  table.widen_words = widen_words;
  table.dense_product = dense_product;
  table.read_stream = read_stream;
  fill_scalar_bitmap(table);
  fill_scalar_gaps(table);
  fill_scalar_palette(table);
  fill_scalar_affine(table);
  fill_scalar_encode(table);
  fill_scalar_fields(table);
  fill_scalar_quantise(table);
  fill_scalar_folded(table);
  fill_scalar_blocks(table);
  fill_scalar_n_of_m(table);
  fill_scalar_convolution(table);
  fill_scalar_pairs(table);
  fill_scalar_winograd(table);
  fill_scalar_pool(table);
  fill_scalar_ans(table);
  fill_scalar_tokens(table);
  fill_scalar_depthwise(table);
  fill_scalar_sparse(table);
  fill_scalar_pixels(table);
  fill_scalar_quantised(table);
}

}  // namespace tersely
