// rANS one symbol after another.
#include "tersely/backends/cpu/kernels/ans_loops.hpp"
#include "tersely/backends/cpu/kernels/table.hpp"

namespace tersely {
namespace {

template <int Lanes>
int64_t decode(const uint32_t* entries, const uint8_t* tables, int64_t steps, AnsCursor& cursor, const uint16_t* end,
               uint8_t* symbols) {
  int64_t step = 0;
  const uint16_t* words = cursor.words;
  for (; step < steps && end - words >= Lanes; ++step)
    for (int lane = 0; lane < Lanes; ++lane) {
      uint32_t state = cursor.states[lane];
      const uint32_t entry = entries[static_cast<uint32_t>(*tables++) << kAnsPrecision | (state & 0xFFF)];
      *symbols++ = static_cast<uint8_t>(entry);
      state = (entry >> kAnsFrequencyShift & 0xFFF) * (state >> kAnsPrecision) + (entry >> kAnsDistanceShift);
      const bool low = state < kAnsLowest;
      cursor.states[lane] = low ? state << 16 | ans_load<uint16_t>(reinterpret_cast<const uint8_t*>(words)) : state;
      words += low;
    }
  cursor.words = words;
  return step;
}

template <int Lanes>
uint16_t* encode(const uint32_t* coded, const uint8_t* tables, const uint8_t* symbols, int64_t steps, uint32_t* states,
                 uint16_t* end) {
  for (int64_t i = steps * Lanes - 1; i >= 0; --i)
    ans_encode_one(coded[static_cast<uint32_t>(tables[i]) << 8 | symbols[i]], states[i % Lanes], end);
  return end;
}

}  // namespace

void fill_scalar_ans(KernelTable& table) {
  table.ans = kAnsLoops;
  table.ans.decode[0] = &decode<kAnsLanes[0]>;
  table.ans.decode[1] = &decode<kAnsLanes[1]>;
  table.ans.encode[0] = &encode<kAnsLanes[0]>;
  table.ans.encode[1] = &encode<kAnsLanes[1]>;
}

}  // namespace tersely
