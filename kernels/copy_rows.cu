// copy_rows: short rows from anywhere the GPU can read, a CTA with a row at a time.
//
// Shapes: up to 96 rows of any size and alignment. Bytes: each read once and written once, past the
// caches. Floor: a launch and the time of one read from the other GPU, about 2 us: a row of 16 KiB
// is under way at once. Measured on an H200, 2026-11-29, inside one GPU: 12 rows of 3.5 KiB by 2
// CTAs 3.1 us, six rows one after the other in each; more CTAs would take more from the model.
#include <algorithm>

#include "kernels/copy_rows.hpp"
#include "kernels/launch.cuh"

namespace ballast {
namespace {

constexpr int threads = 512;
constexpr int in_flight = 2;  // loads of a thread before its first store

// Returns how many bytes it has copied; less than a word remains.
template <typename Word>
__device__ unsigned copy_words(const void* from, void* to, unsigned bytes) {
  const auto* source = static_cast<const Word*>(from);
  auto* target = static_cast<Word*>(to);
  const unsigned words = bytes / sizeof(Word);
  for (unsigned first = threadIdx.x; first < words; first += in_flight * threads) {
    Word word[in_flight];
#pragma unroll
    for (int j = 0; j < in_flight; ++j) {
      if (first + j * threads < words) word[j] = __ldcs(source + first + j * threads);
    }
#pragma unroll
    for (int j = 0; j < in_flight; ++j) {
      if (first + j * threads < words) __stcs(target + first + j * threads, word[j]);
    }
  }
  return words * static_cast<unsigned>(sizeof(Word));
}

__global__ void __launch_bounds__(threads) copy_rows(const __grid_constant__ row_copies rows) {
  wait_for_previous();
  for (int row = blockIdx.x; row < rows.count; row += gridDim.x) {
    const auto* from = static_cast<const unsigned char*>(rows.from[row]);
    auto* to = static_cast<unsigned char*>(rows.to[row]);
    const unsigned bytes = rows.bytes[row];
    const auto misaligned =
        reinterpret_cast<std::uintptr_t>(from) | reinterpret_cast<std::uintptr_t>(to);
    const unsigned copied = misaligned % sizeof(uint4) == 0 ? copy_words<uint4>(from, to, bytes)
                            : misaligned % sizeof(unsigned) == 0
                                ? copy_words<unsigned>(from, to, bytes)
                                : copy_words<unsigned char>(from, to, bytes);
    if (copied + threadIdx.x < bytes) to[copied + threadIdx.x] = from[copied + threadIdx.x];
  }
}

}  // namespace

device_status copy_rows_device(const row_copies& rows, int ctas, device_stream stream) {
  if (rows.count <= 0) return 0;
  return launch(copy_rows, std::clamp(ctas, 1, rows.count), threads, 0, stream, rows);
}

}  // namespace ballast
