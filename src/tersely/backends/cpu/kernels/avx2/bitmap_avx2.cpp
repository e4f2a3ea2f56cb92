// Bitmap chunks under AVX2, which has no expand: a byte of the mask picks a shuffle that puts the next values in place.
//
// for each byte of a chunk's mask: load 8 values, shuffle them by the table's row, advance by the byte's popcount
// Rows of the table: -1 where the mask has no bit, which vpshufb turns to zero by itself and vblendvps after vpermd.
// Every vector goes to its sink at once: a chunk's worth of them would not fit the registers beside constants and sums.
// MEASURED: the whole chunk first, rows of 32 bytes and a compare for the zeros: 10.2 ns a chunk of float32 on Zen 3.
#include <type_traits>

#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/avx2/survivors.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

struct Tables {
  alignas(64) uint8_t dwords[256][32];
  alignas(64) uint8_t words[256][16];
};
constexpr Tables make_tables() {
  Tables t{};
  for (int mask = 0; mask < 256; ++mask)
    for (int lane = 0, rank = 0, half = 0; lane < 8; ++lane) {
      const bool set = (mask >> lane & 1) != 0;
      if (lane == 4) half = rank;
      for (int byte = 0; byte < 4; ++byte)
        t.dwords[mask][4 * lane + byte] = static_cast<uint8_t>(set ? 4 * (rank - half) + byte : 0x80);
      t.words[mask][2 * lane] = static_cast<uint8_t>(set ? 2 * rank : 0x80);
      t.words[mask][2 * lane + 1] = static_cast<uint8_t>(set ? 2 * rank + 1 : 0x80);
      rank += set;
    }
  return t;
}
constexpr Tables kTables = make_tables();
constexpr uint64_t kNoBits = 0;

TERSELY_INLINE __m128i load128(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }

// The words that the bits of one mask byte stand for, in place, and the pointer behind them.
TERSELY_INLINE __m256i expand_dwords(uint64_t bits, const uint32_t*& values) {
  const uint32_t* second = values + _mm_popcnt_u64(bits & 15);
  const __m256i packed = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(values)), load128(second), 1);
  values += _mm_popcnt_u64(bits);
  return _mm256_shuffle_epi8(packed, load256(kTables.dwords[bits]));
}
TERSELY_INLINE __m256i expand_words(uint64_t low, uint64_t high, const uint16_t*& values) {
  const uint16_t* second = values + _mm_popcnt_u64(low);
  const __m256i packed = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(values)), load128(second), 1);
  const __m256i index =
      _mm256_inserti128_si256(_mm256_castsi128_si256(load128(kTables.words[low])), load128(kTables.words[high]), 1);
  values = second + _mm_popcnt_u64(high);
  return _mm256_shuffle_epi8(packed, index);
}

// Calls sink(j, k, vector k in vector order) for each vector of each chunk.
template <DType D, class Sink>
TERSELY_INLINE void for_vectors(Cursor& cursor, int64_t chunks, Sink&& sink) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  using Word = std::conditional_t<kWordBytes == 4, uint32_t, uint16_t>;
  const uint8_t* masks = cursor.tile;
  auto* values = reinterpret_cast<const Word*>(cursor.survivors);
  auto* const end = reinterpret_cast<const Word*>(cursor.survivors_end);
  for (int64_t j = 0; j < chunks; ++j, masks += 8) {
    const uint8_t* mask = masks;
    // SAFE BECAUSE: values never passes the end, from which 64 bytes are readable; a chunk that does not fit is zeros.
    if (__builtin_expect(static_cast<int64_t>(_mm_popcnt_u64(load64(mask))) > end - values, 0))
      mask = reinterpret_cast<const uint8_t*>(&kNoBits);
#pragma GCC unroll 8
    for (int k = 0; k < kVectors<D>; ++k) {
      __m256i v;
      if constexpr (D == DType::kFloat32) {
        v = expand_dwords(mask[k], values);
      } else {
        v = expand_words(mask[2 * k], mask[2 * k + 1], values);
      }
      if (k == 0) prefetch_stream(v, reinterpret_cast<const uint8_t*>(values));
      if (k == 2) prefetch_stream(v, masks);
      if (k == 4) prefetch_stream(v, reinterpret_cast<const uint8_t*>(values) + 64);
      sink(j, k, v);
    }
  }
  cursor.tile = masks;
  cursor.survivors = reinterpret_cast<const uint8_t*>(values);
}

// Calls take(column, half, eight rows) for what vector k holds.
template <DType D, class Take>
TERSELY_INLINE void vector_floats(int k, __m256i v, Take&& take) {
  if constexpr (D == DType::kFloat32) {
    take(k / 2, k % 2, _mm256_castsi256_ps(v));
  } else if constexpr (D == DType::kBfloat16) {
    take(k / 2 * 2, k % 2, _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)));
    take(k / 2 * 2 + 1, k % 2,
         _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(0xFFFF0000)))));
  } else {
    take(k, 0, _mm256_cvtph_ps(_mm256_castsi256_si128(v)));
    take(k, 1, _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
  }
}

template <DType D>
void decode_words(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  for_vectors<D>(cursor, chunks, [&](int64_t j, int k, __m256i v) {
    store256(static_cast<uint8_t*>(out) + (j * kVectors<D> + k) * 32, v);
  });
}

template <DType D>
void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  for_vectors<D>(cursor, chunks, [&](int64_t j, int k, __m256i v) {
    vector_floats<D>(
        k, v, [&](int column, int half, __m256 f) { _mm256_storeu_ps(out + j * 64 + column * 16 + half * 8, f); });
  });
}

template <DType D, int Batch>
void product(const Parameters&, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  constexpr int kWays = Batch == 1 ? 2 : 1;
  __m256 acc[Batch][2][kWays];
  for (int b = 0; b < Batch; ++b)
    for (int i = 0; i < 2 * kWays; ++i) acc[b][i / kWays][i % kWays] = _mm256_setzero_ps();
  for_vectors<D>(cursor, chunks, [&](int64_t j, int k, __m256i v) {
    vector_floats<D>(k, v, [&](int column, int half, __m256 f) {
#pragma GCC unroll 4
      for (int b = 0; b < Batch; ++b) {
        const __m256 value = _mm256_broadcast_ss(x + b * x_stride + j * 4 + column);
        acc[b][half][column % kWays] = _mm256_fmadd_ps(f, value, acc[b][half][column % kWays]);
      }
    });
  });
  for (int b = 0; b < Batch; ++b)
    for (int half = 0; half < 2; ++half) {
      __m256 sum = _mm256_loadu_ps(sums + b * 16 + half * 8);
      for (int way = 0; way < kWays; ++way) sum = _mm256_add_ps(sum, acc[b][half][way]);
      _mm256_storeu_ps(sums + b * 16 + half * 8, sum);
    }
}

// Bytes, which no product takes from here.
void decode_bytes(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  // By value: bytes that are written may be anybody's, the cursor's too.
  const uint8_t *values = cursor.survivors, *const end = cursor.survivors_end, *const masks = cursor.tile;
  auto* at = static_cast<uint8_t*>(out);
  for (int64_t j = 0; j < chunks; ++j, at += 64) {
    uint64_t mask = load64(masks + j * 8);
    // SAFE BECAUSE: as above.
    if (__builtin_expect(static_cast<int64_t>(_mm_popcnt_u64(mask)) > end - values, 0)) mask = 0;
    __m256i bytes[2];
    expand_bytes(values, mask, bytes);
    prefetch_stream(bytes[0], values);
    store256(at, bytes[0]);
    store256(at + 32, bytes[1]);
    values += _mm_popcnt_u64(mask);
  }
  cursor.tile = masks + chunks * 8;
  cursor.survivors = values;
}

int64_t count_bits(const uint8_t* words, int64_t count) {
  int64_t bits = 0;
  for (int64_t i = 0; i < count; ++i) bits += _mm_popcnt_u64(load64(words + i * 8));
  return bits;
}

template <DType D>
void fill(KernelTable& table) {
  CodeKernels& kernels = table.codes[static_cast<int>(D)][kBitmapIndex][0];
  kernels.decode_words = decode_words<D>;
  kernels.decode_floats = decode_floats<D>;
  kernels.product[0] = product<D, 1>;
  kernels.product[1] = product<D, 2>;
  kernels.product[2] = product<D, 4>;
}

}  // namespace

void fill_avx2_bitmap(KernelTable& table) {
  table.count_bits = count_bits;
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
  table.codes[static_cast<int>(DType::kIndex)][kBitmapIndex][0].decode_words = decode_bytes;
}

}  // namespace tersely
