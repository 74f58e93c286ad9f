#pragma once
// CUDA as the command line uses it: calls that throw, and owning handles. All handles belong to the
// device that was current when they were made.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "jobs/mpi_session.hpp"

namespace ballast::gpu {

/// Throws job_error(system) of this rank alone, with the call, the code's name and CUDA's text.
void require(cudaError_t code, const char* call);

/// The GPU that this rank works on.
struct place {
  int device = 0;
  int multiprocessors = 0;
  std::string name;
  std::string bus_id;
};

/// Collective. The ranks of a node take its GPUs in turn; the one taken becomes current. Throws
/// job_error(system) on all ranks if any rank sees none. `asked_by`: the option that asks for GPUs.
place take_device(const mpi_session& mpi, const std::string& asked_by);

class stream {
 public:
  stream();  ///< does not wait for the legacy default stream
  cudaStream_t get() const { return stream_.get(); }
  void wait() const { require(cudaStreamSynchronize(get()), "cudaStreamSynchronize"); }
  bool idle() const;

 private:
  struct release {
    using pointer = cudaStream_t;
    void operator()(cudaStream_t stream) const noexcept { cudaStreamDestroy(stream); }
  };
  std::unique_ptr<cudaStream_t, release> stream_;
};

/// An event that knows when it passed.
class timer {
 public:
  timer();
  cudaEvent_t get() const { return event_.get(); }
  void record(cudaStream_t stream) { require(cudaEventRecord(get(), stream), "cudaEventRecord"); }
  bool passed() const;
  void wait() const { require(cudaEventSynchronize(get()), "cudaEventSynchronize"); }
  /// Both have passed.
  double seconds_since(const timer& earlier) const;

 private:
  struct release {
    using pointer = cudaEvent_t;
    void operator()(cudaEvent_t event) const noexcept { cudaEventDestroy(event); }
  };
  std::unique_ptr<cudaEvent_t, release> event_;
};

/// Throws job_error(system) stating the bytes wanted and free.
void* allocate(std::size_t bytes);
void* allocate_pinned(std::size_t bytes);

/// Values in device memory, not initialised.
template <typename Value>
class array {
  static_assert(std::is_trivially_copyable_v<Value>);

 public:
  array() = default;
  explicit array(std::size_t count)
      : data_(static_cast<Value*>(allocate(count * sizeof(Value)))), count_(count) {}
  /// A copy of host values; blocks.
  explicit array(const std::vector<Value>& values) : array(values.size()) {
    require(cudaMemcpy(data(), values.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  Value* data() const { return data_.get(); }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(Value); }
  /// Blocks until the whole device is idle, so that nothing is still to be written.
  std::vector<Value> to_host() const {
    require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    std::vector<Value> values(count_);
    require(cudaMemcpy(values.data(), data(), bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return values;
  }

 private:
  struct release {
    void operator()(Value* data) const noexcept { cudaFree(data); }
  };
  std::unique_ptr<Value, release> data_;
  std::size_t count_ = 0;
};

/// Values in page-locked host memory, not initialised.
template <typename Value>
class pinned_array {
  static_assert(std::is_trivially_copyable_v<Value>);

 public:
  pinned_array() = default;
  explicit pinned_array(std::size_t count)
      : data_(static_cast<Value*>(allocate_pinned(count * sizeof(Value)))), count_(count) {}
  Value* data() const { return data_.get(); }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(Value); }
  Value& operator[](std::size_t i) const { return data_.get()[i]; }

 private:
  struct release {
    void operator()(Value* data) const noexcept { cudaFreeHost(data); }
  };
  std::unique_ptr<Value, release> data_;
  std::size_t count_ = 0;
};

/// An array of at least `count` values from now on; what is in them may be lost, and what still
/// uses them is waited for.
template <typename Array>
void grow(Array& array, std::size_t count) {
  if (array.size() >= count) return;
  array = Array();
  array = Array(count);
}

}  // namespace ballast::gpu

#define BALLAST_GPU(call) ::ballast::gpu::require((call), #call)
