// Bitmap chunks of bytes, each to one register. Included by kernel files only; everything is internal to them.
#pragma once

#include "tersely/backends/cpu/kernels/avx512/chunks.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

// Calls sink(j, 64 bytes in vector order, the mask of those that are there) for each chunk.
// SAFE BECAUSE: values never passes the end, from which 64 bytes are readable. Eight chunks that fit together are not
// looked at one by one (MEASURED on Zen 4: a value's place would wait for the look at the chunk before, 7 cycles
// instead of 4); of others, one that does not fit is zeros.
template <class Sink>
TERSELY_INLINE void for_byte_chunks(Cursor& cursor, int64_t chunks, Sink&& sink) {
  constexpr int64_t kAtOnce = 8;
  const uint8_t *values = cursor.survivors, *const end = cursor.survivors_end, *const masks = cursor.tile;
  const auto one = [&](int64_t j, uint64_t mask) TERSELY_SINK {
    __m512i next = load512(values);
    keep_in_register(next);  // the expand's memory form is slower
    next = _mm512_mask_expand_epi8(fresh_zeros(), mask, next);
    if (j % 2 == 0) prefetch_stream(next, values);  // a chunk has a line of values at most
    if (j % kAtOnce == 1) prefetch_stream(next, masks + j * 8);
    values += _mm_popcnt_u64(mask);
    sink(j, next, mask);
  };
  int64_t j = 0;
  for (; j + kAtOnce <= chunks; j += kAtOnce) {
    int64_t together = 0;
#pragma GCC unroll 8
    for (int64_t k = 0; k < kAtOnce; ++k) together += static_cast<int64_t>(_mm_popcnt_u64(load64(masks + (j + k) * 8)));
    if (__builtin_expect(together > end - values, 0)) break;
#pragma GCC unroll 8
    for (int64_t k = 0; k < kAtOnce; ++k) one(j + k, load64(masks + (j + k) * 8));
  }
  for (; j < chunks; ++j) {
    const uint64_t mask = load64(masks + j * 8);
    one(j, static_cast<int64_t>(_mm_popcnt_u64(mask)) <= end - values ? mask : 0);
  }
  cursor.tile = masks + chunks * 8;
  cursor.survivors = values;
}

}  // namespace
}  // namespace tersely
