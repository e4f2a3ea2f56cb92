// What only benchmarks call: our own dense kernel on the same layout, and a read-stream test beside it.
#include <stdexcept>

#include "laconic/base/dispatch.hpp"
#include "laconic/base/parallel.hpp"
#include "laconic/bindings/parts.hpp"

namespace {

// y[rows] = dense words in vector order, [panels][chunks][64], times x [chunks * 4].
void dense_product(Words words, const std::string& dtype, nb::ndarray<const float, nb::ndim<1>, nb::c_contig> x,
                   nb::ndarray<float, nb::ndim<1>, nb::c_contig> y, int threads) {
  const auto type = dtype_of(dtype);
  const auto panels = static_cast<int64_t>(y.size()) / 16, chunks = static_cast<int64_t>(x.size()) / 4;
  const int64_t panel_bytes = chunks * 64 * laconic::kFields[static_cast<int>(type)].word_bytes;
  if (static_cast<int64_t>(words.nbytes()) < panels * panel_bytes) throw std::invalid_argument("words too few");
  const laconic::KernelTable& table = laconic::active_table();
  nb::gil_scoped_release unlocked;
  laconic::parallel_for(threads, panels, [&](int64_t panel) {
    alignas(64) float sums[16] = {};
    table.dense_product(type, static_cast<const uint8_t*>(words.data()) + panel * panel_bytes, chunks, x.data(), sums);
    for (int row = 0; row < 16; ++row) y.data()[panel * 16 + row] = sums[row];
  });
}

// Reads all bytes and returns their exclusive or: as fast as this memory streams.
uint64_t read_stream(Words words, int threads) {
  constexpr int64_t kBlockBytes = 1 << 16;
  const auto* at = static_cast<const uint8_t*>(words.data());
  const auto blocks = static_cast<int64_t>(words.nbytes()) / kBlockBytes;
  std::atomic<uint64_t> total{0};
  nb::gil_scoped_release unlocked;
  laconic::parallel_for(threads, blocks, [&](int64_t block) {
    typedef uint64_t Lanes __attribute__((vector_size(64), aligned(8), may_alias));
    Lanes sums[4] = {};
    const auto* from = reinterpret_cast<const Lanes*>(at + block * kBlockBytes);
    for (int64_t i = 0; i < kBlockBytes / 64; i += 4)
      for (int k = 0; k < 4; ++k) {
        __builtin_prefetch(reinterpret_cast<const char*>(from + i + k) + 2048);
        sums[k] ^= from[i + k];
      }
    const Lanes sum = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
    uint64_t folded = 0;
    for (int k = 0; k < 8; ++k) folded ^= sum[k];
    total.fetch_xor(folded, std::memory_order_relaxed);
  });
  return total;
}

}  // namespace

void bind_bench(nb::module_& m) {
  m.def("bench_dense_product", &dense_product);
  m.def("bench_read_stream", &read_stream);
}
