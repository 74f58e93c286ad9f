// add_counts: one value a thread.
//
// Bytes: 24 a value. Floor: a launch; a layer's counters are a few KiB in the L2 cache.
#include "kernels/add_counts.hpp"
#include "kernels/launch.cuh"

namespace ballast {
namespace {

constexpr int threads = 256;

__global__ void __launch_bounds__(threads)
    add_counts(const std::int64_t* counts, device_counts into) {
  wait_for_previous();
  const int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (i >= into.experts) return;
  if (counts[i] < 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(into.outside), 1ull);
  } else {
    into.counts[i] += counts[i];
  }
}

}  // namespace

device_status add_counts_device(const std::int64_t* counts, const device_counts& into,
                                device_stream stream) {
  return launch(add_counts, (into.experts + threads - 1) / threads, threads, 0, stream, counts,
                into);
}

}  // namespace ballast
