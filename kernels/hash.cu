// hash_experts: the hash of kernels/hash.hpp over all tensors of experts.
//
// Shapes: [experts][tensors] byte rows of any size and alignment. Granules of 16 bytes a thread are
// dealt to the CTAs in turn. A thread adds up its words of a tensor, a warp its threads' sums into
// shared memory, a CTA its sums into `sums` by one atomic addition for each tensor; the CTA that
// draws the last ticket makes the hashes and leaves the scratch zero. Sums are modulo 2^64, so
// their order does not matter.
//
// Bytes: each is read once, by loads that the caches give up first (__ldcs): nothing of it is read
// again, and the compute stream wants the cache. Floor: the bytes over the memory bandwidth. Why
// this grid: 2 CTAs of 512 threads a multiprocessor with 64 bytes in flight each; 3 of them are
// slower (19.8 us), and so is one contiguous range for each CTA (22 us and more). Rows that are not
// aligned to 16 bytes are read by 8, 4 or 1 byte a load.
//
// Measured on an H100 80GB, 2026-11-22, 42 MiB in 3 matrices and 3 rows of scales, not in the
// cache: 18.9 us by the whole GPU, 2,328 GB/s, which is 82 % of the rate (read and written) of a
// cudaMemcpyAsync of 42 MiB and 96 % of that of one of 1 GiB. By 1 / 2 / 4 / 8 / 16 CTAs 88 / 172 /
// 329 / 607 / 1,045 GB/s: 501 / 256 / 134 / 73 / 42 us.
#include "kernels/expert_pieces.cuh"
#include "kernels/hash.hpp"
#include "kernels/hash_rule.hpp"
#include "kernels/launch.cuh"

namespace ballast {
namespace {

// The form for a few multiprocessors has as many bytes under way on each as its registers hold.
// `in_flight`: 16-byte loads of a thread before it uses the first.
struct whole_gpu {
  static constexpr int threads = 512, in_flight = 4, ctas_per_multiprocessor = 2;
};
struct few_ctas {
  static constexpr int threads = 1024, in_flight = 8, ctas_per_multiprocessor = 1;
};

// Up to 8 bytes, little endian, padded with zeros.
__device__ std::uint64_t load_bytes(const unsigned char* from, std::uint64_t bytes) {
  std::uint64_t word = 0;
  for (std::uint64_t b = 0; b < bytes && b < 8; ++b)
    word |= static_cast<std::uint64_t>(from[b]) << (8 * b);
  return word;
}

// This thread's part of the sum over the words of a tensor, aligned to 16 bytes: of granule
// `granule` and every gridDim.x-th after it.
template <typename Form>
__device__ std::uint64_t sum_vectors(const unsigned char* data, std::uint64_t bytes,
                                     std::uint64_t seed, std::int64_t granule) {
  constexpr int threads = Form::threads;
  constexpr int in_flight = Form::in_flight;
  const auto* vectors = reinterpret_cast<const ulonglong2*>(data);
  const std::uint64_t count = bytes / 16;
  const std::uint64_t stride = std::uint64_t{gridDim.x} * threads;
  const std::uint64_t key_stride = 2 * stride * hash_key_step;
  std::uint64_t i = static_cast<std::uint64_t>(granule) * threads + threadIdx.x;
  std::uint64_t key = hash_key(seed, 2 * i);
  std::uint64_t sum = 0;
  for (; i + (in_flight - 1) * stride < count; i += in_flight * stride) {
    ulonglong2 vector[in_flight];
#pragma unroll
    for (int j = 0; j < in_flight; ++j) vector[j] = __ldcs(vectors + i + j * stride);
#pragma unroll
    for (int j = 0; j < in_flight; ++j) {
      sum += hash_term(vector[j].x, key) + hash_term(vector[j].y, key + hash_key_step);
      key += key_stride;
    }
  }
  // The rest, again with all loads under way together.
  ulonglong2 vector[in_flight];
#pragma unroll
  for (int j = 0; j < in_flight; ++j) {
    if (i + j * stride < count) vector[j] = __ldcs(vectors + i + j * stride);
  }
#pragma unroll
  for (int j = 0; j < in_flight; ++j) {
    if (i + j * stride < count)
      sum += hash_term(vector[j].x, key) + hash_term(vector[j].y, key + hash_key_step);
    key += key_stride;
  }
  return sum;
}

template <typename Part>
__device__ std::uint64_t load_word(const unsigned char* from) {
  const auto* parts = reinterpret_cast<const Part*>(from);
  std::uint64_t word = 0;
#pragma unroll
  for (int p = 0; p < static_cast<int>(8 / sizeof(Part)); ++p) {
    word |= static_cast<std::uint64_t>(__ldcs(parts + p)) << (8 * sizeof(Part) * p);
  }
  return word;
}

// The same for data aligned to Part, word by word.
template <int threads, typename Part>
__device__ std::uint64_t sum_words(const unsigned char* data, std::uint64_t bytes,
                                   std::uint64_t seed, std::int64_t granule) {
  constexpr std::uint64_t words_per_granule = granule_bytes<threads> / 8;
  const std::uint64_t words = bytes / 8;
  std::uint64_t sum = 0;
  for (std::uint64_t first = granule * words_per_granule; first < words;
       first += gridDim.x * words_per_granule) {
#pragma unroll
    for (std::uint64_t lane = 0; lane < words_per_granule; lane += threads) {
      const std::uint64_t i = first + lane + threadIdx.x;
      if (i < words) sum += hash_term(load_word<Part>(data + 8 * i), hash_key(seed, i));
    }
  }
  return sum;
}

template <typename Form>
__device__ std::uint64_t sum_granules(const unsigned char* data, std::uint64_t bytes,
                                      std::uint64_t seed, std::int64_t granule) {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const bool vectors = address % 16 == 0;
  std::uint64_t sum =
      vectors            ? sum_vectors<Form>(data, bytes, seed, granule)
      : address % 8 == 0 ? sum_words<Form::threads, std::uint64_t>(data, bytes, seed, granule)
      : address % 4 == 0 ? sum_words<Form::threads, std::uint32_t>(data, bytes, seed, granule)
                         : sum_words<Form::threads, unsigned char>(data, bytes, seed, granule);
  if (granule == 0 && threadIdx.x == 0) {  // what is left behind the last vector or word
    for (std::uint64_t at = bytes - bytes % (vectors ? 16 : 8); at < bytes; at += 8) {
      sum += hash_term(load_bytes(data + at, bytes - at), hash_key(seed, at / 8));
    }
  }
  return sum;
}

// Adds up `sum` over the warp and adds it to *total in shared memory; no warp waits for another.
__device__ void add_over_warp(unsigned long long* total, std::uint64_t sum) {
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
  if (threadIdx.x % 32 == 0) atomicAdd(total, static_cast<unsigned long long>(sum));
}

// Moves the CTA's sums of an expert's tensors to global memory.
__device__ void flush(unsigned long long* of_tensor, unsigned long long* sums, int tensors) {
  __syncthreads();
  if (threadIdx.x < static_cast<unsigned>(tensors)) {
    if (of_tensor[threadIdx.x] != 0) atomicAdd(sums + threadIdx.x, of_tensor[threadIdx.x]);
    of_tensor[threadIdx.x] = 0;
  }
  __syncthreads();
}

// True for all threads of the CTA that comes last, which then sees what the others added. Leaves
// the ticket at 0.
__device__ bool is_last_cta(unsigned long long* ticket) {
  __shared__ bool last;
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(ticket, 1ull) == gridDim.x - 1;
    __threadfence();
    if (last) *ticket = 0;
  }
  __syncthreads();
  return last;
}

// Hashes from the sums of all tensors, by one CTA: a thread for each tensor of as many experts as
// it has threads for. Empties the sums for the next launch.
template <int threads>
__device__ void finish_hashes(const expert_shape& shape, std::int64_t experts,
                              std::uint64_t* hashes, unsigned long long* sums) {
  __shared__ std::uint64_t of_tensor[threads];
  const int at_once = shape.tensors > 0 ? threads / shape.tensors : threads;
  const int tensor = shape.tensors > 0 ? static_cast<int>(threadIdx.x) % shape.tensors : 0;
  for (std::int64_t first = 0; first < experts; first += at_once) {
    const std::int64_t pair = first * shape.tensors + threadIdx.x;
    if (threadIdx.x < static_cast<unsigned>(at_once * shape.tensors) &&
        pair < experts * shape.tensors) {
      const std::uint64_t sum =
          __ldcg(sums + pair);  // from where the additions went, past the L1 cache
      sums[pair] = 0;
      of_tensor[threadIdx.x] = hash_of_sum(sum, shape.bytes[tensor], hash_seed_of_tensor(tensor));
    }
    __syncthreads();
    if (threadIdx.x < static_cast<unsigned>(at_once) && first + threadIdx.x < experts) {
      std::uint64_t hash = 0;
      for (int t = 0; t < shape.tensors; ++t)
        hash = hash_combine(hash, of_tensor[threadIdx.x * shape.tensors + t]);
      hashes[first + threadIdx.x] = hash;
    }
    __syncthreads();
  }
}

// Rows: expert_rows or picked_experts.
template <typename Form, typename Rows>
__global__ void __launch_bounds__(Form::threads, Form::ctas_per_multiprocessor)
    hash_experts(const __grid_constant__ expert_shape shape, const __grid_constant__ Rows rows,
                 std::int64_t granules_per_expert, std::int64_t experts, std::uint64_t* hashes,
                 unsigned long long* sums) {
  __shared__ unsigned long long of_tensor[expert_tensors_max];
  if (threadIdx.x < expert_tensors_max) of_tensor[threadIdx.x] = 0;
  __syncthreads();
  wait_for_previous();
  std::int64_t current = -1;
  for_each_tensor<Form::threads>(
      shape, granules_per_expert, experts,
      [&](std::int64_t expert, int tensor, std::int64_t granule) {
        if (expert != current && current >= 0)
          flush(of_tensor, sums + current * shape.tensors, shape.tensors);
        current = expert;
        const unsigned char* data = address_of(shape, rows, expert, tensor);
        const std::uint64_t seed = hash_seed_of_tensor(tensor);
        add_over_warp(&of_tensor[tensor],
                      sum_granules<Form>(data, shape.bytes[tensor], seed, granule));
      });
  if (current >= 0) flush(of_tensor, sums + current * shape.tensors, shape.tensors);
  if (is_last_cta(sums + experts * shape.tensors))
    finish_hashes<Form::threads>(shape, experts, hashes, sums);
}

template <typename Form, typename Rows>
device_status launch_form(const expert_shape& shape, const Rows& rows, std::int64_t experts,
                          std::uint64_t* hashes, std::uint64_t* scratch, int ctas,
                          device_stream stream) {
  const std::int64_t granules = granules_of<Form::threads>(shape);
  const std::int64_t grid =
      ctas > 0 ? ctas : ctas_for(granules * experts, Form::ctas_per_multiprocessor);
  return launch(hash_experts<Form, Rows>, grid, Form::threads, 0, stream, shape, rows, granules,
                experts, hashes, reinterpret_cast<unsigned long long*>(scratch));
}

template <typename Rows>
device_status hash_on_device(const expert_shape& shape, const Rows& rows, std::int64_t experts,
                             std::uint64_t* hashes, std::uint64_t* scratch, int ctas,
                             device_stream stream) {
  if (experts <= 0) return 0;
  return ctas > 0 ? launch_form<few_ctas>(shape, rows, experts, hashes, scratch, ctas, stream)
                  : launch_form<whole_gpu>(shape, rows, experts, hashes, scratch, 0, stream);
}

}  // namespace

device_status hash_experts_device(const expert_shape& shape, const expert_rows& rows,
                                  std::int64_t experts, std::uint64_t* hashes,
                                  std::uint64_t* scratch, int ctas, device_stream stream) {
  return hash_on_device(shape, rows, experts, hashes, scratch, ctas, stream);
}

device_status hash_picked_device(const expert_shape& shape, const picked_experts& picked,
                                 int experts, std::uint64_t* hashes, std::uint64_t* scratch,
                                 int ctas, device_stream stream) {
  return hash_on_device(shape, picked, experts, hashes, scratch, ctas, stream);
}

}  // namespace ballast
