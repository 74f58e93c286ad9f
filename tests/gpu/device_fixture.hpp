#pragma once
// What every GPU test stands on: it is skipped where there is no GPU, has a stream, and can replay
// a captured graph; and arrays on the device that begin with garbage and are followed by guard
// bytes.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ballast {

inline void check_cuda(int status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " +
                           cudaGetErrorString(static_cast<cudaError_t>(status)));
}

/// `size` values on the device, any of them unwritten until copied to; `offset` values further than
/// cudaMalloc aligns.
template <typename T>
class device_array {
 public:
  static constexpr unsigned char poison = 0xa5;
  static constexpr std::size_t guard_bytes = 64;

  explicit device_array(std::size_t size, std::size_t offset = 0)
      : size_(size), front_(guard_bytes + offset * sizeof(T)) {
    check_cuda(cudaMalloc(&base_, all_bytes()), "cudaMalloc");
    check_cuda(cudaMemset(base_, poison, all_bytes()), "cudaMemset");
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  explicit device_array(const std::vector<T>& values, std::size_t offset = 0)
      : device_array(values.size(), offset) {
    set(values);
  }
  device_array(device_array&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), size_(other.size_), front_(other.front_) {}
  device_array& operator=(device_array&&) = delete;
  ~device_array() { cudaFree(base_); }

  T* data() const { return reinterpret_cast<T*>(static_cast<unsigned char*>(base_) + front_); }
  std::size_t size() const { return size_; }

  void set(const std::vector<T>& values) {
    if (size_ == 0) return;
    check_cuda(cudaMemcpy(data(), values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
               "copy to the device");
    // The call may return before the copy has arrived, and the streams of the tests do not wait for
    // the default stream.
    check_cuda(cudaDeviceSynchronize(), "copy to the device");
  }

  /// The values, after a check that nothing around them was written. The stream that writes them
  /// must be idle.
  std::vector<T> get() const {
    std::vector<unsigned char> bytes(all_bytes());
    check_cuda(cudaMemcpy(bytes.data(), base_, bytes.size(), cudaMemcpyDeviceToHost),
               "copy to the host");
    std::size_t written = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (i < front_ || i >= front_ + size_ * sizeof(T)) written += bytes[i] != poison;
    }
    EXPECT_EQ(written, 0u) << "bytes written around the array";
    std::vector<T> values(size_);
    if (size_ > 0) std::memcpy(values.data(), bytes.data() + front_, size_ * sizeof(T));
    return values;
  }

 private:
  std::size_t all_bytes() const { return front_ + size_ * sizeof(T) + guard_bytes; }

  void* base_ = nullptr;
  std::size_t size_;
  std::size_t front_;
};

class device_test : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) GTEST_SKIP() << "no GPU";
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  void TearDown() override {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  cudaStream_t stream() const { return stream_; }
  void finish() const { check_cuda(cudaStreamSynchronize(stream_), "the stream"); }

  /// Captures what `enqueue` launches, in the mode that refuses allocation and synchronisation, and
  /// replays it after each call of `before(replay)`, then calls `after(replay)`.
  void replay(int times, const std::function<void()>& enqueue,
              const std::function<void(int)>& before, const std::function<void(int)>& after) const {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal),
               "cudaStreamBeginCapture");
    enqueue();
    check_cuda(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    check_cuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    for (int i = 0; i < times; ++i) {
      before(i);
      check_cuda(cudaGraphLaunch(executable, stream_), "cudaGraphLaunch");
      finish();
      after(i);
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace ballast
