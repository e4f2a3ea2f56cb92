// Bitmap chunks under AVX-512: a chunk's word is its mask register, one expand is 16 or 32 ranks at once.
//
// for each vector of a chunk: expand the values that follow under its bits; then advance by the mask's popcount
// values by index (4 or 5 bits): expand the bytes of a whole chunk at once, and look each column's 16 up under its bits
#include "tersely/backends/cpu/kernels/avx512/byte_chunks.hpp"
#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"
#include "tersely/backends/cpu/kernels/avx512/planes.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// One chunk to vectors in vector order. Places come from popcounts of the mask's head, so that no load waits for the
// one before.
template <DType D>
TERSELY_INLINE void expand_chunk(uint64_t mask, const uint8_t* values, __m512i (&v)[kVectors<D>]) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes, kWords = 64 / kWordBytes;
#pragma GCC unroll 4
  for (int k = 0; k < kVectors<D>; ++k) {
    const int64_t before = k == 0 ? 0 : static_cast<int64_t>(_mm_popcnt_u64(mask << (64 - kWords * k)));
    __m512i next = load512(values + before * kWordBytes);
    keep_in_register(next);  // the expand's memory form is slower
    uint64_t bits = mask >> (kWords * k);
    keep_in_register(bits);  // shifted there: mask registers are slow at it
    if constexpr (kWordBytes == 4)
      v[k] = _mm512_mask_expand_epi32(fresh_zeros(), static_cast<__mmask16>(bits), next);
    else
      v[k] = _mm512_mask_expand_epi16(fresh_zeros(), static_cast<__mmask32>(bits), next);
  }
}

// Calls sink(j, vectors) for each chunk.
template <DType D, class Sink>
TERSELY_INLINE void for_chunks(Cursor& cursor, int64_t chunks, Sink&& sink) {
  constexpr int64_t kWordBytes = kFields[static_cast<int>(D)].word_bytes, kAtOnce = 8;
  const uint8_t* masks = cursor.tile;
  const uint8_t* values = cursor.survivors;
  const auto one = [&](int64_t j, uint64_t mask) TERSELY_SINK {
    __m512i v[kVectors<D>];
    expand_chunk<D>(mask, values, v);
    prefetch_stream(v[0], values);
    if constexpr (D == DType::kFloat32) prefetch_stream(v[2], values + 64);
    if (j % kAtOnce == 0) prefetch_stream(v[1], masks + j * 8);
    sink(j, v);
    values += static_cast<int64_t>(_mm_popcnt_u64(mask)) * kWordBytes;
  };
  int64_t j = 0;
  // SAFE BECAUSE: values never passes the end, from which 64 bytes are readable. Eight chunks that fit together are not
  // looked at one by one (MEASURED on Zen 4, from cache: 12 cycles a chunk of float32 instead of 18); of others, one
  // that does not fit is zeros.
  for (; j + kAtOnce <= chunks; j += kAtOnce) {
    int64_t together = 0;
#pragma GCC unroll 8
    for (int64_t k = 0; k < kAtOnce; ++k) together += static_cast<int64_t>(_mm_popcnt_u64(load64(masks + (j + k) * 8)));
    if (__builtin_expect(together * kWordBytes > cursor.survivors_end - values, 0)) break;
#pragma GCC unroll 8
    for (int64_t k = 0; k < kAtOnce; ++k) {
      uint64_t mask = load64(masks + (j + k) * 8);
      keep_in_register(mask);
      one(j + k, mask);
    }
  }
  for (; j < chunks; ++j) {
    const uint64_t mask = load64(masks + j * 8);
    const bool fits = static_cast<int64_t>(_mm_popcnt_u64(mask)) * kWordBytes <= cursor.survivors_end - values;
    one(j, fits ? mask : 0);
  }
  cursor.tile = masks + chunks * 8;
  cursor.survivors = values;
}

// Calls sink(j, floats of the four columns) for each chunk whose values are indices of at most 32 words, a byte each;
// what lies above the lowest five bits of a byte does not count.
template <class Sink>
TERSELY_INLINE void for_index_chunks(Cursor& cursor, int64_t chunks, Sink&& sink) {
  const uint32_t* words = cursor.palette->floats.dwords;
  const __m512 low = _mm512_loadu_ps(words), high = _mm512_loadu_ps(words + 16);
  // Row x 4 + column of each byte: a shift of dwords then brings the next column down, and takes no shuffle.
  alignas(64) static constexpr auto kTurned = [] {
    struct {
      uint8_t of[64];
    } t{};
    for (int i = 0; i < 64; ++i) t.of[i] = static_cast<uint8_t>(i % 4 * 16 + i / 4);
    return t;
  }();
  const __m512i turned = load512(kTurned.of);
  for_byte_chunks(cursor, chunks, [&](int64_t j, __m512i bytes, uint64_t mask) TERSELY_SINK {
    const __m512i rows = _mm512_permutexvar_epi8(turned, bytes);
    __m512 f[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      uint64_t bits = mask >> (16 * i);
      keep_in_register(bits);  // shifted there: mask registers are slow at it
      const __m512i column = _mm512_srli_epi32(rows, 8 * static_cast<unsigned>(i));
      f[i] = _mm512_maskz_permutex2var_ps(static_cast<__mmask16>(bits), low, column, high);
    }
    sink(j, f);
  });
}

void unpack_indices(const uint8_t* packed, int64_t chunks, int bits, uint8_t* out) {
  if (bits == 4) {
    for (int64_t j = 0; j < chunks; ++j) _mm512_storeu_si512(out + j * 64, chunk_indices<4>(packed + j * 32));
  } else {
    for (int64_t j = 0; j < chunks; ++j) {
      __m512i indices = chunk_indices<5>(packed + j * 40);
      prefetch_stream(indices, packed + j * 40);
      _mm512_storeu_si512(out + j * 64, indices);
    }
  }
}

// Calls sink(j, floats of the four columns) for each chunk, whatever its values are.
template <DType D, class Sink>
TERSELY_INLINE void for_floats(Cursor& cursor, int64_t chunks, Sink&& sink) {
  if constexpr (D == DType::kFloat32)
    if (cursor.palette != nullptr) return for_index_chunks(cursor, chunks, sink);
  for_chunks<D>(cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) TERSELY_SINK {
    __m512 f[4];
    chunk_floats<D>(v, f);
    sink(j, f);
  });
}

template <DType D>
void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  for_floats<D>(cursor, chunks, [&](int64_t j, const __m512(&f)[4]) TERSELY_SINK {
    for (int i = 0; i < 4; ++i) _mm512_storeu_ps(out + (j * 4 + i) * 16, f[i]);
  });
}

template <DType D>
void decode_words(const Parameters& p, Cursor& cursor, int64_t chunks, void* out) {
  if constexpr (D == DType::kFloat32)
    if (cursor.palette != nullptr) return decode_floats<D>(p, cursor, chunks, static_cast<float*>(out));
  for_chunks<D>(cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) TERSELY_SINK {
    for (int i = 0; i < kVectors<D>; ++i)
      _mm512_storeu_si512(static_cast<uint8_t*>(out) + (j * kVectors<D> + i) * 64, v[i]);
  });
}

template <DType D, int Batch>
void product(const Parameters&, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  __m512 acc[Batch][4];
  for (int i = 0; i < 4 * Batch; ++i) acc[i / 4][i % 4] = _mm512_setzero_ps();
  for_floats<D>(cursor, chunks, [&](int64_t j, const __m512(&f)[4]) TERSELY_SINK {
#pragma GCC unroll 4
    for (int b = 0; b < Batch; ++b)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
        acc[b][i] = _mm512_fmadd_ps(f[i], _mm512_set1_ps(x[b * x_stride + j * 4 + i]), acc[b][i]);
  });
  for (int b = 0; b < Batch; ++b) {
    const __m512 sum = _mm512_add_ps(_mm512_add_ps(acc[b][0], acc[b][1]), _mm512_add_ps(acc[b][2], acc[b][3]));
    _mm512_storeu_ps(sums + b * 16, _mm512_add_ps(_mm512_loadu_ps(sums + b * 16), sum));
  }
}

// Bytes, which products of integers take from the cache.
void decode_bytes(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  auto* at = static_cast<uint8_t*>(out);
  for_byte_chunks(cursor, chunks,
                  [&](int64_t j, __m512i bytes, uint64_t) TERSELY_SINK { _mm512_storeu_si512(at + j * 64, bytes); });
}

// Entry by entry: assigning the whole struct would use AVX-512 here, and tables are filled on every machine.
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

void fill_avx512_bitmap(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
  table.codes[static_cast<int>(DType::kIndex)][kBitmapIndex][0].decode_words = decode_bytes;
  table.unpack_indices = unpack_indices;
}

}  // namespace tersely
