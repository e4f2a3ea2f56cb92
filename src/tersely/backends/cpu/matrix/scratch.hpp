// Aligned memory that a worker keeps between calls: allocating per call would cost more than a small product.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace tersely {

class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(memory_); }

  // At least `bytes` bytes at a 64-byte boundary; contents are lost when it grows.
  template <class T>
  T* get(int64_t bytes) {
    if (bytes > size_) {
      std::free(memory_);
      size_ = (bytes + 4095) / 4096 * 4096;
      memory_ = std::aligned_alloc(4096, static_cast<size_t>(size_));
      if (memory_ == nullptr) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace tersely
