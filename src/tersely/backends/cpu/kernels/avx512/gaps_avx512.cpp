// Gap-coded rows under AVX-512: 16 lanes a vector.
//
// for each step: column += gap, clamped; x of the columns by gather; sum += weight * x where the word is not zero bits
#include "tersely/backends/cpu/base/cpu.hpp"
#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"
#include "tersely/backends/cpu/kernels/avx512/rounding.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// The words of 16 lanes at one step, as float32; a word of zero bits stays zero bits.
template <DType D>
TERSELY_INLINE __m512i words16(const uint8_t* at) {
  if constexpr (D == DType::kFloat32) {
    return load512(at);
  } else {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    if constexpr (D == DType::kBfloat16) return _mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16);
    return _mm512_castps_si512(_mm512_cvtph_ps(words));
  }
}

TERSELY_INLINE __m512 numbers16(const uint8_t* at) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))));
}

// Numbers as words read; those of float32 as they are, since sums are scaled.
template <DType D>
TERSELY_INLINE __m512 as_summed(__m512 numbers, __m512 scales) {
  return D == DType::kFloat32 ? numbers : as_read_finite<D>(_mm512_mul_ps(numbers, scales));
}

// Columns of the four steps of a block: sums of gaps, clamped.
TERSELY_INLINE void next_columns(const uint8_t* gaps, __m512i last, __m512i& columns, __m512i (&of_steps)[4]) {
#pragma GCC unroll 4
  for (int step = 0; step < 4; ++step) {
    const __m512i gap = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(gaps + step * 16)));
    columns = _mm512_min_epu32(_mm512_add_epi32(columns, gap), last);
    of_steps[step] = columns;
  }
}

// Two columns a load: the loads of x are the limit.
TERSELY_INLINE __m128 load4(const float* x, const uint32_t* columns) {
  uint64_t first = load64(reinterpret_cast<const uint8_t*>(columns));
  uint64_t second = load64(reinterpret_cast<const uint8_t*>(columns + 2));
  keep_in_register(first);
  keep_in_register(second);
  __m128 four = _mm_load_ss(x + static_cast<uint32_t>(first));
  four = _mm_insert_ps(four, _mm_load_ss(x + (first >> 32)), 0x10);
  four = _mm_insert_ps(four, _mm_load_ss(x + static_cast<uint32_t>(second)), 0x20);
  return _mm_insert_ps(four, _mm_load_ss(x + (second >> 32)), 0x30);
}

// x of 16 columns, by loads where the processor's gather is slow: then the columns of a block were stored a block ago,
// so that no load waits for them.
template <bool ByLoads>
TERSELY_INLINE __m512 x_of(__m512i columns, const uint32_t* stored, const float* x) {
  if constexpr (!ByLoads) return _mm512_i32gather_ps(columns, x, 4);
  const __m256 low = _mm256_set_m128(load4(x, stored + 4), load4(x, stored));
  const __m256 high = _mm256_set_m128(load4(x, stored + 12), load4(x, stored + 8));
  return _mm512_castsi512_ps(
      _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_castps_si256(low)), _mm256_castps_si256(high), 1));
}

template <DType D, bool Numbers, int Batch, bool ByLoads>
void product(const GapEntries& e, const float* x, int64_t x_stride, float* sums) {
  constexpr int64_t kWordBytes = Numbers ? 1 : kFields[static_cast<int>(D)].word_bytes;
  const __m512i last = _mm512_set1_epi32(static_cast<int>(e.last_column));
  const __m512 scales = Numbers ? _mm512_loadu_ps(e.scales) : _mm512_setzero_ps();
  __m512 acc[Batch][2];
  for (int i = 0; i < 2 * Batch; ++i) acc[i / 2][i % 2] = _mm512_setzero_ps();
  __m512i columns = _mm512_setzero_si512(), of_steps[4];
  alignas(64) uint32_t stored[2][64];
  const auto prepare = [&](int64_t block) TERSELY_SINK {
    next_columns(e.gaps + block * 64, last, columns, of_steps);
    if constexpr (ByLoads)
      for (int step = 0; step < 4; ++step) _mm512_store_si512(stored[block % 2] + step * 16, of_steps[step]);
  };
  if (ByLoads && e.blocks > 0) prepare(0);
  for (int64_t block = 0; block < e.blocks; ++block) {
    // SAFE BECAUSE: 64 bytes behind the last gaps are readable, and what they say is not used.
    prepare(ByLoads ? block + 1 : block);
    const uint8_t* values = e.values + block * 64 * kWordBytes;
    prefetch_stream(columns, e.gaps + block * 64);
#pragma GCC unroll 4
    for (int step = 0; step < 4; ++step) {
      const uint8_t* at = values + step * 16 * kWordBytes;
      __m512i w;
      if constexpr (Numbers) {
        w = _mm512_castps_si512(as_summed<D>(numbers16(at), scales));
      } else {
        w = words16<D>(at);
      }
      if (step % (4 / kWordBytes) == 0) prefetch_stream(w, at);
      const __mmask16 real = _mm512_test_epi32_mask(w, w);
#pragma GCC unroll 4
      for (int b = 0; b < Batch; ++b)
        acc[b][step % 2] = _mm512_mask3_fmadd_ps(
            _mm512_castsi512_ps(w), x_of<ByLoads>(of_steps[step], stored[block % 2] + step * 16, x + b * x_stride),
            acc[b][step % 2], real);
    }
  }
  for (int b = 0; b < Batch; ++b) {
    __m512 sum = _mm512_add_ps(acc[b][0], acc[b][1]);
    if constexpr (Numbers && D == DType::kFloat32) sum = _mm512_mul_ps(sum, scales);
    _mm512_storeu_ps(sums + b * 16, sum);
  }
}

// Batch rows are the lanes here: four rows of the matrix at a time, so that no sum waits for the one before.
template <DType D, bool Numbers>
void product_packed(const GapEntries& e, const float* x, float* sums) {
  constexpr int kWordBytes = Numbers ? 1 : kFields[static_cast<int>(D)].word_bytes;
  const int64_t steps = e.blocks * 4, last = e.last_column;
  for (int lane = 0; lane < 16; lane += 4) {
    __m512 acc[4];
    for (auto& sum : acc) sum = _mm512_setzero_ps();
    int64_t columns[4] = {0, 0, 0, 0};
    const uint8_t* gaps = e.gaps + lane;
    const uint8_t* values = e.values + lane * kWordBytes;
    for (int64_t step = 0; step < steps; ++step, gaps += 16, values += 16 * kWordBytes)
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        columns[r] += gaps[r];
        columns[r] = columns[r] < last ? columns[r] : last;
        uint32_t word = 0;
        __builtin_memcpy(&word, values + r * kWordBytes, kWordBytes);
        const int64_t column = word == 0 ? last + 1 : columns[r];  // the column of zeros
        __m512 weight;
        if constexpr (Numbers) {
          const auto number = static_cast<float>(static_cast<int8_t>(word));
          weight = _mm512_set1_ps(number);
        } else if constexpr (D == DType::kFloat16) {
          weight = _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(word)));
        } else {
          if constexpr (D == DType::kBfloat16) word <<= 16;
          weight = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(word)));
        }
        acc[r] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(x + column * 16), acc[r]);
      }
    for (int r = 0; r < 4; ++r) {
      if constexpr (Numbers) acc[r] = _mm512_mul_ps(acc[r], _mm512_set1_ps(e.scales[lane + r]));
      _mm512_storeu_ps(sums + (lane + r) * 16, acc[r]);
    }
  }
}

// Words of 16 lanes at one step.
template <DType D>
TERSELY_INLINE void store16(__m512 weights, uint8_t* to) {
  if constexpr (D == DType::kFloat32) {
    _mm512_storeu_ps(reinterpret_cast<float*>(to), weights);
  } else {
    __m256i words;
    if constexpr (D == DType::kFloat16) words = _mm512_cvtps_ph(weights, kNearest);
    if constexpr (D == DType::kBfloat16) words = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded(weights), 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words);
  }
}

template <DType D, bool OneScale>
void scale_entries(const GapEntries& e, int shift, uint8_t* words) {
  constexpr int64_t kWordBytes = kFields[static_cast<int>(D)].word_bytes;
  const __m512i last = _mm512_set1_epi32(static_cast<int>(e.last_column));
  alignas(64) static constexpr uint32_t kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const __m512i lanes = load512(reinterpret_cast<const uint8_t*>(kLanes));
  const __m512 of_lanes = _mm512_loadu_ps(e.scales);
  __m512i columns = _mm512_setzero_si512(), of_steps[4];
  for (int64_t block = 0; block < e.blocks; ++block) {
    if constexpr (!OneScale) next_columns(e.gaps + block * 64, last, columns, of_steps);
#pragma GCC unroll 4
    for (int step = 0; step < 4; ++step) {
      const int64_t at = block * 64 + step * 16;
      __m512 factors = of_lanes;
      if constexpr (!OneScale) {
        const __m512i group = _mm512_srl_epi32(of_steps[step], _mm_cvtsi32_si128(shift));
        factors = _mm512_i32gather_ps(_mm512_or_si512(_mm512_slli_epi32(group, 4), lanes), e.scales, 4);
      }
      store16<D>(_mm512_mul_ps(numbers16(e.values + at), factors), words + at * kWordBytes);
    }
  }
}

template <DType D>
void scale_gaps(const GapEntries& e, int shift, void* words) {
  (shift == kOneScale ? scale_entries<D, true> : scale_entries<D, false>)(e, shift, static_cast<uint8_t*>(words));
}

template <DType D, bool Numbers, bool ByLoads>
void fill(GapKernels& kernels) {
  kernels.product[0] = product<D, Numbers, 1, ByLoads>;
  kernels.product[1] = product<D, Numbers, 2, ByLoads>;
  kernels.product[2] = product<D, Numbers, 4, ByLoads>;
  if constexpr (!Numbers || D == DType::kFloat32) kernels.product_packed = product_packed<D, Numbers>;
}
template <DType D, bool ByLoads>
void fill_dtype(KernelTable& table) {
  fill<D, false, ByLoads>(table.gaps[static_cast<int>(D)]);
  fill<D, true, ByLoads>(table.gap_numbers[static_cast<int>(D)]);
  table.scale_gaps[static_cast<int>(D)] = scale_gaps<D>;
}
template <bool ByLoads>
void fill_all(KernelTable& table) {
  fill_dtype<DType::kFloat32, ByLoads>(table);
  fill_dtype<DType::kBfloat16, ByLoads>(table);
  fill_dtype<DType::kFloat16, ByLoads>(table);
}

}  // namespace

// MEASURED on Zen 4, x in the first cache: 27 cycles for 16 entries by gather, 14 by loads. On Ice Lake, two threads,
// 4096 x 4096 with 95 % zeros: float32 0.60 to 0.66 ms by gather, 0.51 to 0.55 by loads; bfloat16 0.60 and 0.32 to
// 0.46. Newer processors of Intel take about 6 cycles for a gather.
void fill_avx512_gaps(KernelTable& table) {
  if (cpu_has_slow_gather())
    fill_all<true>(table);
  else
    fill_all<false>(table);
}

}  // namespace tersely
