// What only benchmarks and tests call: our own dense kernel on the same layout, a read-stream test beside it, the
// clock, regions and sessions whose workers are disturbed.
#include <nanobind/stl/tuple.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <tuple>

#include "tersely/backends/cpu/base/parallel.hpp"
#include "tersely/backends/cpu/bindings/parts.hpp"
#include "tersely/backends/cpu/matrix/dispatch.hpp"

namespace {

// y[rows] = dense words in vector order, [panels][chunks][64], times x [chunks * 4].
void dense_product(Words words, const std::string& dtype, nb::ndarray<const float, nb::ndim<1>, nb::c_contig> x,
                   nb::ndarray<float, nb::ndim<1>, nb::c_contig> y, int threads) {
  const auto type = tersely::dtype_of(dtype);
  const auto panels = static_cast<int64_t>(y.size()) / 16, chunks = static_cast<int64_t>(x.size()) / 4;
  const int64_t panel_bytes = chunks * 64 * tersely::kFields[static_cast<int>(type)].word_bytes;
  if (static_cast<int64_t>(words.nbytes()) < panels * panel_bytes) throw std::invalid_argument("words too few");
  const tersely::KernelTable& table = tersely::active_table();
  const Computing unlocked;
  tersely::parallel_for(threads, panels, [&](int64_t panel) {
    alignas(64) float sums[16] = {};
    table.dense_product(type, static_cast<const uint8_t*>(words.data()) + panel * panel_bytes, chunks, x.data(), sums);
    for (int row = 0; row < 16; ++row) y.data()[panel * 16 + row] = sums[row];
  });
}

// Reads all bytes, in blocks of the size of a panel, and returns their exclusive or.
uint64_t read_stream(Words words, int threads) {
  constexpr int64_t kBlockBytes = 1 << 17;
  const auto* at = static_cast<const uint8_t*>(words.data());
  const auto blocks = static_cast<int64_t>(words.nbytes()) / kBlockBytes;
  const tersely::KernelTable& table = tersely::active_table();
  std::atomic<uint64_t> total{0};
  const Computing unlocked;
  tersely::parallel_for(threads, blocks, [&](int64_t block) {
    total.fetch_xor(table.read_stream(at + block * kBlockBytes, kBlockBytes), std::memory_order_relaxed);
  });
  return total;
}

// The clock that the core has now, in GHz, from multiplications that wait for one another, three cycles each on every
// x86-64 processor of the last decade; 0 elsewhere.
double clock_ghz() {
#if defined(__x86_64__)
  constexpr int kTurns = 1000, kEach = 8, kCycles = 3;
  uint64_t value = 1;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kTurns; ++i)
    asm volatile(
        "imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0\n\t"
        "imul %0, %0\n\timul %0, %0\n\timul %0, %0\n\timul %0, %0"
        : "+r"(value));
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
  return kTurns * kEach * kCycles / taken.count();
#else
  return 0;
#endif
}

// A region of `items` items, each of which takes item_us on a processor. Workers other than the caller sleep for
// stall_us in the first that they draw, as those do whom a neighbour keeps from running. How many the caller drew, the
// others, and how many were drawn under another floating-point environment than the default one.
std::tuple<int64_t, int64_t, int64_t> region(int threads, int64_t items, int64_t item_us, int64_t stall_us) {
  const auto busy_us = [] {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * int64_t{1'000'000} + now.tv_nsec / 1000;
  };
  const auto caller = std::this_thread::get_id();
  std::atomic<int64_t> own{0}, others{0}, strange{0};
  const Computing unlocked;
  tersely::parallel_for(threads, items, [&](int64_t) {
    if (!tersely::DefaultFloats::here()) ++strange;
    if (std::this_thread::get_id() == caller)
      ++own;
    else if (others++ == 0)
      std::this_thread::sleep_for(std::chrono::microseconds(stall_us));
    for (const int64_t end = busy_us() + item_us; busy_us() < end;) {
    }
  });
  return {own, others, strange};
}

// A session of so many regions, whose items are drawn by ranges, and each of which runs within another one, that adds
// nothing. How many items were drawn, how many of them by the worker in whose range they lie, and by others than the
// caller. Items of the region before the last one sleep for stall_us where they are not the caller's. fail: the last
// region ends with an error of the caller's, for which its other workers wait, so that an item is left for the caller.
std::tuple<int64_t, int64_t, int64_t> session(int threads, int64_t regions, int64_t items, int64_t item_us,
                                              int64_t stall_us, bool fail) {
  const auto caller = std::this_thread::get_id();
  std::atomic<int64_t> drawn{0}, near{0}, others{0};
  std::atomic<bool> failed{false};
  const Computing unlocked;
  const auto one = [&](int64_t region) {
    tersely::parallel_for_ranges(threads, items, [&](int64_t item) {
      ++drawn;
      if (item * threads / items == tersely::Session::worker()) ++near;
      const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(item_us);
      if (std::this_thread::get_id() != caller) {
        ++others;
        if (region == regions - 2) std::this_thread::sleep_for(std::chrono::microseconds(stall_us));
        while (fail && region == regions - 1 && !failed) std::this_thread::yield();
      } else if (fail && region == regions - 1) {
        failed = true;
        throw std::invalid_argument("the caller's item failed");
      }
      tersely::parallel_for(threads, 2, [](int64_t) {});
      while (std::chrono::steady_clock::now() < end) {
      }
    });
  };
  tersely::in_session(threads, [&] {
    tersely::in_session(threads, [&] {
      for (int64_t region = 0; region < regions; ++region) one(region);
    });
  });
  return {drawn, near, others};
}

}  // namespace

void bind_bench(nb::module_& m) {
  m.def("bench_dense_product", &dense_product);
  m.def("bench_read_stream", &read_stream);
  m.def("bench_region", &region, nb::arg("threads"), nb::arg("items"), nb::arg("item_us"), nb::arg("stall_us"));
  m.def("bench_session", &session, nb::arg("threads"), nb::arg("regions"), nb::arg("items"), nb::arg("item_us"),
        nb::arg("stall_us") = 0, nb::arg("fail") = false);
  m.def("bench_clock_ghz", &clock_ghz);
}
