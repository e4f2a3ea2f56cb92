// How far ahead of itself a kernel asks for the streams that it reads once, from end to end.
//
// Twice for every line: far ahead into the second cache, near into the first. Requests of the first cache are few (24
// at a time on Zen 4), so near ones alone cannot keep enough lines on their way, and hardware stops at page ends.
// MEASURED on Zen 4, two threads, 4096 x 4096 from memory, near alone against both in one run: float32 packed(4) 2.01
// ms and 1.58, layered(3) 1.96 and 1.46; bfloat16 layered(2,2,2,2) 0.86 and 0.73. Far ones of 8 and 12 KiB help less,
// of 32 KiB as much; near ones of 1 or 2 KiB are slower by up to 10 %, where a bitmap or coded values take their bytes
// in bursts. Included by kernel files only; everything is internal to them.
#pragma once

#include <cstdint>

namespace tersely {
namespace {

constexpr int64_t kPrefetchNearBytes = 3072;
constexpr int64_t kPrefetchFarBytes = 20480;

// Prefetches ahead of a place in a stream, which stay where they are written, tied to a vector made there: g++ gathers
// the _mm_prefetch of a whole tile in one place, where they fill the line buffers and stall.
// far: bytes to what goes to the second cache.
template <int64_t Near = kPrefetchNearBytes, class Vector>
inline __attribute__((always_inline)) void prefetch_stream([[maybe_unused]] Vector& beside,
                                                           [[maybe_unused]] const uint8_t* at,
                                                           [[maybe_unused]] int64_t far = kPrefetchFarBytes) {
#if !defined(TERSELY_EMULATE)  // vectors are structs there
  asm volatile("prefetcht0 %1\n\tprefetcht1 %2" : "+v"(beside) : "m"(at[Near]), "m"(at[far]));
#endif
}

// As prefetch_stream, of any two places: the nearer one for the first cache.
template <class Vector>
inline __attribute__((always_inline)) void prefetch_both([[maybe_unused]] Vector& beside,
                                                         [[maybe_unused]] const uint8_t* near,
                                                         [[maybe_unused]] const uint8_t* far) {
#if !defined(TERSELY_EMULATE)
  asm volatile("prefetcht0 %1\n\tprefetcht1 %2" : "+v"(beside) : "m"(*near), "m"(*far));
#endif
}

// The second distance where a walk does not say one: see Cursor::ahead.
inline int64_t far_of(int64_t ahead) { return ahead != 0 ? ahead : kPrefetchFarBytes; }

}  // namespace
}  // namespace tersely
