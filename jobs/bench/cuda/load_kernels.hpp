#pragma once
// Kernels that stand for a model in the benches: weights whose every word follows from where it
// belongs, the check of such weights, and a load that is bound by memory.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace ballast::gpu {

/// What a tensor of an expert holds: 8-byte words, the last one cut to fit.
std::uint64_t content_key(int layer, int expert, int tensor);

/// Writes `bytes` bytes of the content; `row` on 8 bytes.
cudaError_t fill_row(void* row, std::size_t bytes, std::uint64_t key, cudaStream_t stream);

/// Adds to `*wrong`, in device memory, how many words of the row differ from the content.
cudaError_t count_wrong_words(const void* row, std::size_t bytes, std::uint64_t key,
                              std::uint64_t* wrong, cudaStream_t stream);

/// Reads all of `words` once and adds them up into `*sum`, so that nothing is left out.
cudaError_t read_all(const uint4* words, std::size_t count, std::uint64_t* sum, int multiprocessors,
                     cudaStream_t stream);

/// What matrices hold decides how much power their product draws.
enum class bf16_values {
  random,  ///< near 1, of either sign: the product runs into the power limit of the GPU
  signs    ///< 1 or -1: it stays below
};

/// `count` values that repeat with no short period.
cudaError_t fill_bf16(std::uint16_t* values, std::size_t count, bf16_values which,
                      cudaStream_t stream);

}  // namespace ballast::gpu
