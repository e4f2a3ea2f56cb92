// Rows of x to integers, eight floats at a time.
#include <immintrin.h>

#include <cstring>

#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

float largest_float(const float* x, int64_t count) {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  __m256i most = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
    most = _mm256_max_epi32(most, _mm256_and_si256(word, magnitude));  // as words: NaN is above infinity
  }
  int32_t words[9];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), most);
  for (; i < count; ++i) {
    std::memcpy(words + 8, x + i, 4);
    words[8] &= 0x7FFFFFFF;
    words[0] = words[8] > words[0] ? words[8] : words[0];
  }
  for (int k = 1; k < 8; ++k) words[0] = words[k] > words[0] ? words[k] : words[0];
  float largest;
  std::memcpy(&largest, words, 4);
  return largest;
}

// The lowest byte of each of eight dwords.
inline int64_t low_bytes(__m256i dwords) {
  const __m256i first = _mm256_set1_epi64x(0x0C080400);
  const __m256i bytes = _mm256_shuffle_epi8(dwords, first);
  const auto low = static_cast<uint32_t>(_mm256_extract_epi32(bytes, 0));
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(_mm256_extract_epi32(bytes, 4))) << 32 | low);
}

inline void store(__m256i slice, int8_t* out) {
  const int64_t bytes = low_bytes(slice);
  std::memcpy(out, &bytes, 8);
}

inline void store(__m256i slice, int16_t* out) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(slice), _mm256_extracti128_si256(slice, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), words);
}

template <class Slice>
int64_t quantise(const float* x, int64_t count, const float (&factors)[2], int32_t* integers, Slice* out,
                 int64_t stride) {
  constexpr int kBits = sizeof(Slice) == 1 ? 8 : 12, kSlices = 24 / kBits;
  const __m256 first = _mm256_set1_ps(factors[0]), second = _mm256_set1_ps(factors[1]);
  __m256i sums = _mm256_setzero_si256();  // of 64 bits
  for (int64_t i = 0; i < count; i += 8) {
    __m256 value;
    if (i + 8 <= count) {
      value = _mm256_loadu_ps(x + i);
    } else {
      alignas(32) float rest[8] = {};
      std::memcpy(rest, x + i, static_cast<size_t>(count - i) * 4);
      value = _mm256_load_ps(rest);
    }
    __m256i integer = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_mul_ps(value, first), second));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(integers + i), integer);
    sums = _mm256_add_epi64(sums, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(integer)));
    sums = _mm256_add_epi64(sums, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(integer, 1)));
    for (int s = 0; s + 1 < kSlices; ++s) {
      const __m256i above = _mm256_srai_epi32(_mm256_add_epi32(integer, _mm256_set1_epi32(1 << (kBits - 1))), kBits);
      store(_mm256_sub_epi32(integer, _mm256_slli_epi32(above, kBits)), out + s * stride + i);
      integer = above;
    }
    store(integer, out + (kSlices - 1) * stride + i);
  }
  alignas(32) int64_t parts[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(parts), sums);
  return parts[0] + parts[1] + parts[2] + parts[3];
}

}  // namespace

void fill_avx2_cut(KernelTable& table) {
  table.largest_float = largest_float;
  table.slice_bytes = quantise<int8_t>;
  table.slice_words = quantise<int16_t>;
}

}  // namespace tersely
