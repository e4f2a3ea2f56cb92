// n of m under AVX2: a row is a dword lane. Its code becomes the numbers of its columns, by which a permute picks among
// the m values of x: weights are multiplied where they lie and never spread out.
//
// for each block of m columns, for each 8 rows: codes to columns; for each slot: permute x, multiply, add
// 1:4 and 2:4 permute inside 128 bits, 4:8 across 256; eight codes of a row lie in as many bytes as a code has bits.
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

TERSELY_INLINE __m128i load128(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }

// The columns of up to four bits of a mask, `Bits` each.
struct ColumnTable {
  uint32_t of[256];
};
constexpr ColumnTable make_columns(int bits) {
  ColumnTable t{};
  for (uint32_t mask = 0; mask < 256; ++mask)
    for (uint32_t column = 0, slot = 0; column < 8 && slot < 4; ++column)
      if ((mask >> column & 1) != 0) t.of[mask] |= column << (static_cast<uint32_t>(bits) * slot++);
  return t;
}
constexpr ColumnTable kColumns4 = make_columns(2), kColumns8 = make_columns(3);

// n of M, N values each. Codes of eight rows and eight blocks, and columns from them.
template <int N, int M>
struct Pattern {
  static constexpr int kBits = M == 8 ? 8 : N == 1 ? 2 : 3;  // of a code
  static constexpr int kColumnBits = M == 8 ? 3 : 2;         // of a column's number
  static constexpr int64_t kTileBytes = 16 * kBits;
  alignas(32) uint32_t columns[M == 8 ? 256 : 8];

  explicit Pattern(const Parameters& p) {
    const uint32_t* of = M == 8 ? kColumns8.of : kColumns4.of;
    for (int code = 0; code < (M == 8 ? 256 : 8); ++code) columns[code] = of[p.selections[code]];
  }
  // Codes of rows 8 half .. 8 half + 7; [1] only for 4:8, whose last four codes are there.
  static TERSELY_INLINE void load_codes(const uint8_t* tile, int half, __m256i (&codes)[2]) {
    if constexpr (kBits == 2) {
      codes[0] = _mm256_cvtepu16_epi32(load128(tile + half * 16));
    } else if constexpr (kBits == 3) {
      // SAFE BECAUSE: 4 bytes beyond the tile are read of 64 that follow every stream.
      const __m256i rows = _mm256_set_m128i(load128(tile + half * 24 + 12), load128(tile + half * 24));
      codes[0] = _mm256_shuffle_epi8(rows, _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 0, 1,
                                                            2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1));
    } else {
      const __m256 low = _mm256_castsi256_ps(load256(tile + half * 64));
      const __m256 high = _mm256_castsi256_ps(load256(tile + half * 64 + 32));
      codes[0] = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88)), 0xD8);
      codes[1] = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xDD)), 0xD8);
    }
  }
  // Numbers of the columns that block `block` of a tile has in these rows: slot 0 in the lowest bits.
  TERSELY_INLINE __m256i block_columns(const __m256i (&codes)[2], int block) const {
    if constexpr (M == 8) {
      const __m256i code = _mm256_and_si256(_mm256_srl_epi32(codes[block / 4], _mm_cvtsi32_si128(block % 4 * 8)),
                                            _mm256_set1_epi32(255));
      return _mm256_i32gather_epi32(reinterpret_cast<const int*>(columns), code, 4);
    } else {
      const __m256i code = _mm256_srl_epi32(codes[0], _mm_cvtsi32_si128(block * kBits));
      return N == 1 ? code : _mm256_permutevar8x32_epi32(load256(columns), code);
    }
  }
};

// x of the columns in the lowest bits of each lane.
template <int M>
TERSELY_INLINE __m256 pick(__m256 x, __m256i columns) {
  return M == 8 ? _mm256_permutevar8x32_ps(x, columns) : _mm256_permutevar_ps(x, columns);
}

// Words of a slot for 8 rows as dwords: zero-extended, for products float32.
template <DType D, int N>
TERSELY_INLINE __m256i slot_words(const uint8_t* values, int slot, int half) {
  if constexpr (D == DType::kFloat32) {
    return load256(values + slot * 64 + half * 32);
  } else if constexpr (D == DType::kBfloat16 && N > 1) {
    const __m256i pairs = load256(values + slot / 2 * 64 + half * 32);
    return slot % 2 == 0 ? _mm256_and_si256(pairs, _mm256_set1_epi32(0xFFFF)) : _mm256_srli_epi32(pairs, 16);
  } else {
    return _mm256_cvtepu16_epi32(load128(values + slot * 32 + half * 16));
  }
}
template <DType D, int N>
TERSELY_INLINE __m256 slot_floats(const uint8_t* values, int slot, int half) {
  if constexpr (D == DType::kBfloat16 && N > 1) {
    const __m256i pairs = load256(values + slot / 2 * 64 + half * 32);
    return _mm256_castsi256_ps(slot % 2 == 0
                                   ? _mm256_slli_epi32(pairs, 16)
                                   : _mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xFFFF0000))));
  } else if constexpr (D == DType::kFloat16) {
    return _mm256_cvtph_ps(load128(values + slot * 32 + half * 16));
  } else {
    const __m256i words = slot_words<D, N>(values, slot, half);
    return _mm256_castsi256_ps(D == DType::kBfloat16 ? _mm256_slli_epi32(words, 16) : words);
  }
}

// Calls sink(block, values, columns of the lower and the upper rows) for each block.
template <DType D, int N, int M, class Sink>
TERSELY_INLINE void for_blocks(const Parameters& p, Cursor& cursor, int64_t chunks, Sink&& sink) {
  constexpr int64_t kBlockBytes = 16 * N * kFields[static_cast<int>(D)].word_bytes;
  const Pattern<N, M> pattern(p);
  const int64_t blocks = M == 8 ? (chunks + 1) / 2 : chunks;
  const uint8_t* tile = cursor.tile;
  const uint8_t* values = cursor.survivors;
  for (int64_t first = 0; first < blocks; first += 8, tile += Pattern<N, M>::kTileBytes) {
    __m256i low[2], high[2];
    pattern.load_codes(tile, 0, low);
    pattern.load_codes(tile, 1, high);
    prefetch_stream(low[0], tile);
    if constexpr (Pattern<N, M>::kTileBytes > 64) prefetch_stream(low[0], tile + 64);
    const auto one = [&](int block) __attribute__((always_inline)) {
      __m256i lower = pattern.block_columns(low, block);
      for (int64_t line = 0; line < kBlockBytes; line += 64) prefetch_stream(lower, values + line);
      sink(first + block, values, lower, pattern.block_columns(high, block));
      values += kBlockBytes;
    };
    if (blocks - first >= 8) {
#pragma GCC unroll 8
      for (int block = 0; block < 8; ++block) one(block);
    } else {
      for (int block = 0; block < blocks - first; ++block) one(block);
    }
  }
  cursor.tile = tile;
  cursor.survivors = values;
}

template <DType D, int N, int M, int Batch>
void product_of(const Parameters& p, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  constexpr int kColumnBits = Pattern<N, M>::kColumnBits;
  constexpr int kWays = Batch == 1 && N > 1 ? 2 : 1;
  __m256 acc[Batch][2][kWays];
  for (int i = 0; i < 2 * kWays * Batch; ++i) acc[i / 2 / kWays][i / kWays % 2][i % kWays] = _mm256_setzero_ps();
  for_blocks<D, N, M>(
      p, cursor, chunks,
      [&](int64_t block, const uint8_t* values, __m256i lower, __m256i upper) __attribute__((always_inline)) {
        const float* from = x + block * M;
        int64_t stride = x_stride;
        float last[M == 8 ? Batch * 8 : 1];
        if constexpr (M == 8) {
          if (__builtin_expect(2 * block + 1 == chunks, 0)) {  // x ends with the first half of the block
            for (int b = 0; b < Batch; ++b)
              for (int i = 0; i < 8; ++i) last[b * 8 + i] = i < 4 ? from[b * x_stride + i] : 0.0f;
            from = last;
            stride = 8;
          }
        }
        __m256 rows[Batch];
#pragma GCC unroll 4
        for (int b = 0; b < Batch; ++b)
          rows[b] = M == 8 ? _mm256_loadu_ps(from + b * stride)
                           : _mm256_broadcast_ps(reinterpret_cast<const __m128*>(from + b * stride));
#pragma GCC unroll 4
        for (int slot = 0; slot < N; ++slot) {
          const __m256i shift_lower = _mm256_srli_epi32(lower, kColumnBits * slot);
          const __m256i shift_upper = _mm256_srli_epi32(upper, kColumnBits * slot);
          const __m256 low = slot_floats<D, N>(values, slot, 0), high = slot_floats<D, N>(values, slot, 1);
#pragma GCC unroll 4
          for (int b = 0; b < Batch; ++b) {
            acc[b][0][slot % kWays] = _mm256_fmadd_ps(low, pick<M>(rows[b], shift_lower), acc[b][0][slot % kWays]);
            acc[b][1][slot % kWays] = _mm256_fmadd_ps(high, pick<M>(rows[b], shift_upper), acc[b][1][slot % kWays]);
          }
        }
      });
  for (int b = 0; b < Batch; ++b)
    for (int half = 0; half < 2; ++half) {
      __m256 sum = _mm256_loadu_ps(sums + b * 16 + half * 8);
      for (int way = 0; way < kWays; ++way) sum = _mm256_add_ps(sum, acc[b][half][way]);
      _mm256_storeu_ps(sums + b * 16 + half * 8, sum);
    }
}

template <DType D, int Batch>
void product(const Parameters& p, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  if (p.m == 8) return product_of<D, 4, 8, Batch>(p, cursor, chunks, x, x_stride, sums);
  if (p.n == 1) return product_of<D, 1, 4, Batch>(p, cursor, chunks, x, x_stride, sums);
  return product_of<D, 2, 4, Batch>(p, cursor, chunks, x, x_stride, sums);
}

// A block's columns spread out as dwords: calls sink(chunk, column in the chunk, half, words).
template <DType D, int N, int M, class Sink>
TERSELY_INLINE void spread(const Parameters& p, Cursor& cursor, int64_t chunks, Sink&& sink) {
  constexpr int kColumnBits = Pattern<N, M>::kColumnBits;
  for_blocks<D, N, M>(p, cursor, chunks, [&](int64_t block, const uint8_t* values, __m256i lower, __m256i upper) {
    const __m256i columns[2] = {lower, upper};
    for (int half = 0; half < 2; ++half) {
      __m256i words[N], at[N];
      for (int slot = 0; slot < N; ++slot) {
        words[slot] = slot_words<D, N>(values, slot, half);
        at[slot] = _mm256_and_si256(_mm256_srli_epi32(columns[half], kColumnBits * slot), _mm256_set1_epi32(M - 1));
      }
      const int64_t whole = (chunks - block * (M / 4)) * 4;  // the last block of 8 columns may be half a block
      for (int column = 0; column < M && column < whole; ++column) {
        __m256i found = _mm256_setzero_si256();
        for (int slot = 0; slot < N; ++slot)
          found = _mm256_or_si256(
              found, _mm256_and_si256(words[slot], _mm256_cmpeq_epi32(at[slot], _mm256_set1_epi32(column))));
        sink(block * (M / 4) + column / 4, column % 4, half, found);
      }
    }
  });
}

template <DType D, int N, int M>
void decode_words_of(const Parameters& p, Cursor& cursor, int64_t chunks, uint8_t* out) {
  __m256i even = _mm256_setzero_si256();
  spread<D, N, M>(p, cursor, chunks, [&](int64_t chunk, int column, int half, __m256i words) {
    if constexpr (D == DType::kFloat32) {
      store256(out + chunk * 256 + column * 64 + half * 32, words);
    } else if constexpr (D == DType::kBfloat16) {
      if (column % 2 == 0) {
        even = words;
      } else {
        store256(out + chunk * 128 + column / 2 * 64 + half * 32, _mm256_or_si256(even, _mm256_slli_epi32(words, 16)));
      }
    } else {
      const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + chunk * 128 + column * 32 + half * 16), packed);
    }
  });
}

template <DType D, int N, int M>
void decode_floats_of(const Parameters& p, Cursor& cursor, int64_t chunks, float* out) {
  spread<D, N, M>(p, cursor, chunks, [&](int64_t chunk, int column, int half, __m256i words) {
    __m256 floats = _mm256_castsi256_ps(D == DType::kBfloat16 ? _mm256_slli_epi32(words, 16) : words);
    if constexpr (D == DType::kFloat16)
      floats = _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    _mm256_storeu_ps(out + chunk * 64 + column * 16 + half * 8, floats);
  });
}

template <DType D>
void decode_words(const Parameters& p, Cursor& cursor, int64_t chunks, void* out) {
  auto* to = static_cast<uint8_t*>(out);
  if (p.m == 8) return decode_words_of<D, 4, 8>(p, cursor, chunks, to);
  if (p.n == 1) return decode_words_of<D, 1, 4>(p, cursor, chunks, to);
  return decode_words_of<D, 2, 4>(p, cursor, chunks, to);
}

template <DType D>
void decode_floats(const Parameters& p, Cursor& cursor, int64_t chunks, float* out) {
  if (p.m == 8) return decode_floats_of<D, 4, 8>(p, cursor, chunks, out);
  if (p.n == 1) return decode_floats_of<D, 1, 4>(p, cursor, chunks, out);
  return decode_floats_of<D, 2, 4>(p, cursor, chunks, out);
}

template <DType D>
void fill(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][kNOfMIndex][0];
  kernels.decode_words = decode_words<D>;
  kernels.decode_floats = decode_floats<D>;
  kernels.product[0] = product<D, 1>;
  kernels.product[1] = product<D, 2>;
  kernels.product[2] = product<D, 4>;
}

}  // namespace

void fill_avx2_n_of_m(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
}

}  // namespace tersely
