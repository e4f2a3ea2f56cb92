// Bitmap chunks under AVX-512: a chunk's word is its mask register, one expand is 16 or 32 ranks at once.
//
// for each vector of a chunk: expand the next values under its bits, advance by their popcount
#include "laconic/kernels/avx512/chunks.hpp"
#include "laconic/kernels/table.hpp"

namespace laconic {
namespace {

// One chunk to vectors in vector order.
template <DType D>
LACONIC_INLINE void expand_chunk(uint64_t mask, const uint8_t* values, __m512i (&v)[kVectors<D>]) {
#pragma GCC unroll 4
  for (int k = 0; k < kVectors<D>; ++k) {
    __m512i next = load512(values);
    keep_in_register(next);  // the expand's memory form is slower
    if constexpr (D == DType::kFloat32) {
      const auto bits = static_cast<__mmask16>(mask >> (16 * k));
      v[k] = _mm512_maskz_expand_epi32(bits, next);
      values += 4 * _mm_popcnt_u32(bits);
    } else {
      const auto bits = static_cast<__mmask32>(mask >> (32 * k));
      v[k] = _mm512_maskz_expand_epi16(bits, next);
      values += 2 * _mm_popcnt_u32(bits);
    }
  }
}

// Calls sink(j, vectors) for each chunk.
template <DType D, class Sink>
LACONIC_INLINE void for_chunks(Cursor& cursor, int64_t chunks, Sink&& sink) {
  constexpr int kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  const uint8_t* masks = cursor.tile;
  const uint8_t* values = cursor.survivors;
  for (int64_t j = 0; j < chunks; ++j) {
    uint64_t mask = load64(masks + j * 8);
    auto bytes = static_cast<int64_t>(_mm_popcnt_u64(mask)) * kWordBytes;
    // SAFE BECAUSE: values never passes the end, from which 64 bytes are readable; a chunk that does not fit is zeros.
    if (__builtin_expect(bytes > cursor.survivors_end - values, 0)) mask = 0, bytes = 0;
    __m512i v[kVectors<D>];
    expand_chunk<D>(mask, values, v);
    prefetch_beside(v[0], values + 1024);
    if constexpr (D == DType::kFloat32) prefetch_beside(v[2], values + 1024 + 64);
    if (j % 8 == 0) prefetch_beside(v[1], masks + j * 8 + 512);
    sink(j, v);
    values += bytes;
  }
  cursor.tile = masks + chunks * 8;
  cursor.survivors = values;
}

template <DType D>
void decode_words(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  for_chunks<D>(cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) {
    for (int i = 0; i < kVectors<D>; ++i)
      _mm512_storeu_si512(static_cast<uint8_t*>(out) + (j * kVectors<D> + i) * 64, v[i]);
  });
}

template <DType D>
void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  for_chunks<D>(cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) {
    __m512 f[4];
    chunk_floats<D>(v, f);
    for (int i = 0; i < 4; ++i) _mm512_storeu_ps(out + (j * 4 + i) * 16, f[i]);
  });
}

template <DType D, int Batch>
void product(const Parameters&, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  __m512 acc[Batch][4];
  for (int i = 0; i < 4 * Batch; ++i) acc[i / 4][i % 4] = _mm512_setzero_ps();
  for_chunks<D>(cursor, chunks, [&](int64_t j, const __m512i(&v)[kVectors<D>]) {
    __m512 f[4];
    chunk_floats<D>(v, f);
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
}

}  // namespace laconic
