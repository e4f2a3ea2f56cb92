// Numbers to weights under AVX2: bytes to floats, minus the zero, times the scale; eight rows of a column a register.
//
// A product of float32 needs the scale once a group: numbers minus zero are exact floats, and their sums are scaled at
// the end.
#include "tersely/backends/cpu/kernels/affine_groups.hpp"
#include "tersely/backends/cpu/kernels/avx2/chunks.hpp"
#include "tersely/backends/cpu/kernels/avx2/rounding.hpp"
#include "tersely/backends/cpu/kernels/avx2/survivors.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// Of eight rows.
struct Rows8 {
  __m256 scales, zeros;
};

// Number minus zero of eight rows, times the scale if that is wanted.
template <bool Scaled, bool NegativeZeros>
TERSELY_INLINE __m256 weights(const uint8_t* numbers, const Rows8& rows) {
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(numbers)));
  __m256 found = _mm256_sub_ps(_mm256_cvtepi32_ps(wide), rows.zeros);
  if constexpr (Scaled) found = _mm256_mul_ps(found, rows.scales);
  if constexpr (!NegativeZeros) return found;
  const __m256i is_zero = _mm256_cmpeq_epi32(wide, _mm256_set1_epi32(kNegativeZero));
  return _mm256_blendv_ps(found, _mm256_set1_ps(-0.0F), _mm256_castsi256_ps(is_zero));
}

// Where numbers lie: all of them as bytes, of which one may stand for -0.0, or those under masks.
enum class Numbers : uint8_t { kBytes, kNegativeZeros, kSparse };

// The values that the bits of one mask byte stand for, in place: numbers minus zero of eight rows.
TERSELY_INLINE __m256 expand_steps(uint64_t bits, const uint8_t*& values) {
  const __m128i pattern = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&kPatterns.expand[bits]));
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
  values += _mm_popcnt_u64(bits);
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_shuffle_epi8(bytes, pattern)));
}

// Calls sink(column, rows 0-7, rows 8-15) with numbers minus zero for the next chunk of sparse numbers.
template <class Sink>
TERSELY_INLINE void sparse_columns(Cursor& cursor, Sink&& sink) {
  uint64_t mask = load64(cursor.tile);
  cursor.tile += 8;
  const uint8_t* values = cursor.survivors;
  // SAFE BECAUSE: values never passes the end, from which 64 bytes are readable; a chunk that does not fit is zeros.
  if (__builtin_expect(static_cast<int64_t>(_mm_popcnt_u64(mask)) > cursor.survivors_end - values, 0)) mask = 0;
#pragma GCC unroll 4
  for (int column = 0; column < 4; ++column) {
    __m256 low = expand_steps(mask >> (16 * column) & 255, values);
    const __m256 high = expand_steps(mask >> (16 * column + 8) & 255, values);
    if (column == 0) prefetch_stream(low, values);
    if (column == 2) prefetch_stream(low, cursor.tile);
    sink(column, low, high);
  }
  cursor.survivors = values;
}

// Calls take(chunk, column, rows 0-7, rows 8-15) for a panel's next chunks. Scaled: otherwise they are numbers minus
// zero, and end(scales) is called behind each group's chunks.
template <bool Scaled, Numbers N, class Take, class End>
TERSELY_INLINE void for_columns(Cursor& cursor, int64_t chunks, Take&& take, End&& end) {
  for (int64_t first = 0; first < chunks;) {
    if (cursor.group_left == 0) cursor.group_left = (++cursor.group)->chunks;
    const int64_t last = cursor.group_left < chunks - first ? first + cursor.group_left : chunks;
    cursor.group_left -= last - first;
    const AffineGroup& group = *cursor.group;
    const Rows8 low{_mm256_loadu_ps(group.scales), _mm256_loadu_ps(group.zeros)};
    const Rows8 high{_mm256_loadu_ps(group.scales + 8), _mm256_loadu_ps(group.zeros + 8)};
    if constexpr (N == Numbers::kSparse) {
      for (; first < last; ++first)
        sparse_columns(cursor, [&](int column, __m256 rows, __m256 more) __attribute__((always_inline)) {
          if constexpr (Scaled) rows = _mm256_mul_ps(rows, low.scales), more = _mm256_mul_ps(more, high.scales);
          take(first, column, rows, more);
        });
      end(group.scales);
      continue;
    }
    for (; first < last; ++first, cursor.tile += kChunkWeights)
#pragma GCC unroll 4
      for (int column = 0; column < 4; ++column)
        take(first, column, weights<Scaled, N == Numbers::kNegativeZeros>(cursor.tile + column * 16, low),
             weights<Scaled, N == Numbers::kNegativeZeros>(cursor.tile + column * 16 + 8, high));
    end(group.scales);
  }
}

template <bool Scaled, bool Sparse, class Take, class End>
TERSELY_INLINE void for_all_columns(Cursor& cursor, int64_t chunks, Take&& take, End&& end) {
  if constexpr (Sparse) return for_columns<Scaled, Numbers::kSparse>(cursor, chunks, take, end);
  cursor.negative_zeros ? for_columns<Scaled, Numbers::kNegativeZeros>(cursor, chunks, take, end)
                        : for_columns<Scaled, Numbers::kBytes>(cursor, chunks, take, end);
}

template <DType D, bool Sparse>
void decode_words(const Parameters&, Cursor& cursor, int64_t chunks, void* out) {
  const auto end = [](const float*) {};
  if constexpr (D == DType::kFloat32) {
    auto* to = static_cast<float*>(out);
    for_all_columns<true, Sparse>(
        cursor, chunks,
        [&](int64_t j, int column, __m256 low, __m256 high) __attribute__((always_inline)) {
          _mm256_storeu_ps(to + j * 64 + column * 16, low);
          _mm256_storeu_ps(to + j * 64 + column * 16 + 8, high);
        },
        end);
  } else if constexpr (D == DType::kFloat16) {
    auto* to = static_cast<uint16_t*>(out);
    for_all_columns<true, Sparse>(
        cursor, chunks,
        [&](int64_t j, int column, __m256 low, __m256 high) __attribute__((always_inline)) {
          auto* at = reinterpret_cast<__m128i*>(to + j * 64 + column * 16);
          _mm_storeu_si128(at, _mm256_cvtps_ph(low, kNearest));
          _mm_storeu_si128(at + 1, _mm256_cvtps_ph(high, kNearest));
        },
        end);
  } else {
    auto* to = static_cast<uint16_t*>(out);
    __m256i first[2] = {};
    for_all_columns<true, Sparse>(
        cursor, chunks,
        [&](int64_t j, int column, __m256 low, __m256 high) __attribute__((always_inline)) {
          if (column % 2 == 0) {
            first[0] = _mm256_srli_epi32(rounded(low), 16);
            first[1] = _mm256_srli_epi32(rounded(high), 16);
            return;
          }
          uint16_t* at = to + j * 64 + column / 2 * 32;
          store256(at, _mm256_or_si256(first[0], rounded(low)));
          store256(at + 16, _mm256_or_si256(first[1], rounded(high)));
        },
        end);
  }
}

template <DType D, bool Sparse>
void decode_floats(const Parameters&, Cursor& cursor, int64_t chunks, float* out) {
  for_all_columns<true, Sparse>(
      cursor, chunks,
      [&](int64_t j, int column, __m256 low, __m256 high) __attribute__((always_inline)) {
        _mm256_storeu_ps(out + j * 64 + column * 16, as_read<D>(low));
        _mm256_storeu_ps(out + j * 64 + column * 16 + 8, as_read<D>(high));
      },
      [](const float*) {});
}

// Numbers of float32 are multiplied before they are scaled: both are rounded once. What is rounded to 16 bits must be,
// weight by weight.
template <DType D, bool Sparse, int Batch>
void product(const Parameters&, Cursor& cursor, int64_t chunks, const float* x, int64_t x_stride, float* sums) {
  constexpr bool kWords = D != DType::kFloat32;
  __m256 acc[Batch * 2];
#pragma GCC unroll 8
  for (int i = 0; i < Batch * 2; ++i) acc[i] = _mm256_setzero_ps();
  for_all_columns<kWords, Sparse>(
      cursor, chunks,
      [&](int64_t j, int column, __m256 low, __m256 high) __attribute__((always_inline)) {
        low = as_read<D>(low);
        high = as_read<D>(high);
#pragma GCC unroll 4
        for (int b = 0; b < Batch; ++b) {
          const __m256 value = _mm256_broadcast_ss(x + b * x_stride + j * 4 + column);
          acc[b * 2] = _mm256_fmadd_ps(low, value, acc[b * 2]);
          acc[b * 2 + 1] = _mm256_fmadd_ps(high, value, acc[b * 2 + 1]);
        }
      },
      [&](const float* scales) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int i = 0; i < Batch * 2; ++i) {
          float* to = sums + i * 8;
          const __m256 scale = kWords ? _mm256_set1_ps(1.0F) : _mm256_loadu_ps(scales + i % 2 * 8);
          _mm256_storeu_ps(to, _mm256_fmadd_ps(acc[i], scale, _mm256_loadu_ps(to)));
          acc[i] = _mm256_setzero_ps();
        }
      });
}

uint64_t equal_bytes(const uint8_t* bytes, const uint8_t* zeros) {
  const __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(zeros)));
  const auto low = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(load256(bytes), all)));
  const auto high = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(load256(bytes + 32), all)));
  return low | static_cast<uint64_t>(high) << 32;
}

void add_bytes(uint8_t* bytes, int64_t chunks, const uint8_t* addends) {
  const __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(addends)));
  for (int64_t i = 0; i < chunks * 2; ++i, bytes += 32) store256(bytes, _mm256_add_epi8(load256(bytes), all));
}

template <DType D, bool Sparse>
void fill_code(CodeKernels& kernels) {
  kernels.decode_words = decode_words<D, Sparse>;
  kernels.decode_floats = decode_floats<D, Sparse>;
  kernels.product[0] = product<D, Sparse, 1>;
  kernels.product[1] = product<D, Sparse, 2>;
  kernels.product[2] = product<D, Sparse, 4>;
}

template <DType D>
void fill(KernelTable& table) {
  fill_code<D, false>(table.codes[static_cast<int>(D)][kAffineIndex][0]);
  fill_code<D, true>(table.codes[static_cast<int>(D)][kSparseAffineIndex][0]);
}

}  // namespace

void fill_avx2_affine(KernelTable& table) {
  fill<DType::kFloat32>(table);
  fill<DType::kBfloat16>(table);
  fill<DType::kFloat16>(table);
  table.equal_bytes = equal_bytes;
  table.add_bytes = add_bytes;
}

}  // namespace tersely
