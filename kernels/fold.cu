// fold: the counts of a pass into the window, one value a thread.
//
// Bytes: 32 a value (both arrays read and written). Floor: a launch plus the bytes; at 58 layers of
// 256 experts 475 kB, all in the L2 cache, so the launch is nearly all of it. The grid is as large
// as the values ask for, up to what is resident at once, to have all loads under way together.
// Measured on an H100 80GB, 2026-11-22: 0.98 us for 58 x 256.
#include "kernels/fold.hpp"
#include "kernels/fold_rule.hpp"
#include "kernels/launch.cuh"

namespace ballast {
namespace {

constexpr int threads = 256;
constexpr int ctas_per_multiprocessor = 8;

__global__ void __launch_bounds__(threads)
    fold(std::int64_t* pass, std::int64_t* window, std::int64_t size, int decay_shift) {
  wait_for_previous();
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * threads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x; i < size;
       i += stride) {
    window[i] = folded(window[i], pass[i], decay_shift);
    pass[i] = 0;
  }
}

}  // namespace

device_status fold_device(std::int64_t* pass, std::int64_t* window, std::int64_t size,
                          int decay_shift, device_stream stream) {
  if (size <= 0) return 0;
  return launch(fold, ctas_for((size + threads - 1) / threads, ctas_per_multiprocessor), threads, 0,
                stream, pass, window, size, decay_shift);
}

}  // namespace ballast
