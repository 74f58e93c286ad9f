#pragma once
// Owning handles: construct = acquire or throw; move-only; moved-from is empty; the destructor
// releases. All belong to the device that was current when they were made.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <type_traits>

#include "runtime/cuda/cuda_error.hpp"

namespace ballast {

struct stream_release {
  using pointer = cudaStream_t;
  void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
};
struct event_release {
  using pointer = cudaEvent_t;
  void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
};
struct device_release {
  void operator()(void* memory) const noexcept { cudaFree(memory); }
};
struct pinned_release {
  void operator()(void* memory) const noexcept { cudaFreeHost(memory); }
};

/// A stream that does not wait for the legacy default stream. Copy engines know no priorities. A
/// kernel of few CTAs should be `urgent`: beside kernels that fill the GPU one of low priority
/// waits for their last CTA, one of high priority takes the first places that become free, and no
/// more than its CTAs. Kernels whose CTAs stay until the end, as large products are, free none
/// before it.
class background_stream {
 public:
  enum class priority { low, urgent };
  explicit background_stream(priority which = priority::low);
  cudaStream_t get() const { return stream_.get(); }

 private:
  std::unique_ptr<cudaStream_t, stream_release> stream_;
};

/// An event without timing.
class event {
 public:
  event();
  cudaEvent_t get() const { return event_.get(); }
  void record(cudaStream_t stream) { BALLAST_CUDA(cudaEventRecord(event_.get(), stream)); }
  /// Whether all that it was last recorded behind is complete; true if it never was.
  bool passed() const;

 private:
  std::unique_ptr<cudaEvent_t, event_release> event_;
};

/// Throw error(MEMORY) stating the bytes needed and free.
void* allocate_device(std::size_t bytes);
void* allocate_pinned(std::size_t bytes);

/// Values in device memory, zero at first.
template <typename Value>
class device_buffer {
 public:
  device_buffer() = default;
  explicit device_buffer(std::size_t count)
      : data_(static_cast<Value*>(allocate_device(count * sizeof(Value)))), count_(count) {
    // The zeros may still be on their way when it returns, and no background stream waits for them.
    BALLAST_CUDA(cudaMemset(data_.get(), 0, count * sizeof(Value)));
    BALLAST_CUDA(cudaStreamSynchronize(cudaStreamLegacy));
  }
  Value* data() const { return data_.get(); }
  std::size_t size() const { return count_; }

 private:
  std::unique_ptr<Value, device_release> data_;
  std::size_t count_ = 0;
};

/// Values in host memory that devices read and write, not initialised.
template <typename Value>
class pinned_buffer {
  static_assert(std::is_trivially_copyable_v<Value>);

 public:
  pinned_buffer() = default;
  explicit pinned_buffer(std::size_t count)
      : data_(static_cast<Value*>(allocate_pinned(count * sizeof(Value)))), count_(count) {}
  Value* data() const { return data_.get(); }
  std::size_t size() const { return count_; }
  Value& operator[](std::size_t i) const { return data_.get()[i]; }

 private:
  std::unique_ptr<Value, pinned_release> data_;
  std::size_t count_ = 0;
};

}  // namespace ballast
