// record, route, and both in one pass over the ids: one kernel, of which the parts not wanted are
// compiled out.
//
// Shapes: ids and slots [tokens][columns], int32 or int64, any alignment of the type. A thread
// takes one id, or two of 32 bits when it only counts: what a pass has few of is not bytes but time
// for one memory access after another, so the ids are spread over many threads. A CTA counts into
// bins in shared memory, and adds those that are not zero to the counts in global memory at the
// end. Integers add up to the same in any order. Tables are copied to shared memory while the ids
// travel, where they fit, and looked up there.
//
// Bytes: 4 or 8 an id read, the same written when routing. Floor: a launch (0.88 us in a graph, see
// below) plus bytes over the bandwidth: 8192 x 8 ids at 2,430 GB/s take 0.11 us to read as int32.
// Why this grid: each CTA adds up to experts + 1 numbers to the same few lines of memory, which the
// L2 cache takes one after another (13 ns a CTA), so recording has CTAs of 1024 threads, 32 or 64
// of them; routing alone has no such end and is spread over all multiprocessors by CTAs of 512. No
// more CTAs than are resident at once; they loop.
//
// Order: nothing is read or written in global memory before wait_for_previous(). The next kernel
// may be set up as soon as the CTAs have their first ids; earlier, it takes their places (route 2.6
// us instead of 2.1).
//
// Measured on an H100 80GB, 2026-11-22, 8192 x 8 ids, 256 experts in 288 slots, graph replays, ids
// in the L2 cache / in memory:
//   record 1.58 / 1.73 us (int32), 1.69 / 1.86 (int64); route by shares 1.84 / 2.20, 1.85 / 2.32;
//   local 3.3 / 3.5; both in one 2.73 / 2.72, 2.80 / 2.80. Of the floor: record 1.6 / 1.7 times,
//   route 1.7 / 2.0 (int32) and 1.4 / 1.8 (int64).
#include "kernels/launch.cuh"
#include "kernels/record_rule.hpp"
#include "kernels/route.hpp"
#include "kernels/route_rule.hpp"

namespace ballast {
namespace {

// What every GPU gives a CTA. Bins that do not fit are counted in global memory, tables that do not
// fit are read there.
constexpr std::int64_t shared_words_max = 48 * 1024 / 4;

struct ids_job {
  id_matrix matrix;
  replay_values replay;
  device_counts into;
  route_tables tables;
  route_origin origin;
  route_mode mode;
  void* slots;
  bool shared_bins;
  bool shared_tables;
  bool aligned;  // ids and slots, for loads and stores of a thread's ids as one
};

template <typename Id, int per_thread>
struct alignas(sizeof(Id) * per_thread) id_group {
  Id id[per_thread];
};

template <typename Id, int per_thread>
__device__ id_group<Id, per_thread> load_group(const ids_job& job, std::int64_t i,
                                               std::int64_t end) {
  const Id* ids = static_cast<const Id*>(job.matrix.ids) + i;
  if (job.aligned && i + per_thread <= end)
    return *reinterpret_cast<const id_group<Id, per_thread>*>(ids);
  id_group<Id, per_thread> group;
#pragma unroll
  for (int j = 0; j < per_thread; ++j) group.id[j] = i + j < end ? ids[j] : Id{-1};
  return group;
}

template <typename Id, int per_thread>
__device__ void store_group(const ids_job& job, std::int64_t i, std::int64_t end,
                            const id_group<Id, per_thread>& group) {
  Id* slots = static_cast<Id*>(job.slots) + i;
  if (job.aligned && i + per_thread <= end) {
    *reinterpret_cast<id_group<Id, per_thread>*>(slots) = group;
    return;
  }
#pragma unroll
  for (int j = 0; j < per_thread; ++j) {
    if (i + j < end) slots[j] = group.id[j];
  }
}

__device__ void add(std::int64_t* sum, std::uint32_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(value));
}

__device__ void add_bin(const device_counts& into, std::uint32_t bin, std::uint32_t value) {
  add(bin <= static_cast<std::uint32_t>(into.experts) ? into.counts + bin - 1 : into.outside,
      value);
}

// Row and column of id i, by 32-bit division where that will do.
__device__ void locate(std::int64_t i, std::int32_t columns, std::int64_t& token,
                       std::int32_t& column) {
  if (i <= 0xffffffff) {
    token = static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(columns);
  } else {
    token = i / columns;
  }
  column = static_cast<std::int32_t>(i - token * columns);
}

// Tables in shared memory: every look-up after the first then takes a tenth of the time.
template <int threads>
__device__ route_tables copy_tables(const route_tables& from, std::int32_t* to) {
  std::int32_t* first = to;
  std::int32_t* slot = first + from.experts + 1;
  std::int32_t* share_end = slot + from.slots;
  // One loop, so that the three loads are under way together.
  for (int i = threadIdx.x; i <= from.experts || i < from.slots; i += threads) {
    const std::int32_t first_i = i <= from.experts ? from.replica_first[i] : 0;
    const std::int32_t slot_i = i < from.slots ? from.replica_slot[i] : 0;
    const std::int32_t share_end_i = i < from.slots ? from.replica_share_end[i] : 0;
    if (i <= from.experts) first[i] = first_i;
    if (i < from.slots) {
      slot[i] = slot_i;
      share_end[i] = share_end_i;
    }
  }
  return {from.experts, first, slot, share_end, from.slots};
}

template <typename Id, int threads, int per_thread, bool record, bool route>
__global__ void __launch_bounds__(threads) record_route(const __grid_constant__ ids_job job) {
  extern __shared__ std::uint32_t shared[];
  std::uint32_t* bins = shared;  // [experts + 2]
  const id_matrix& m = job.matrix;
  const std::int64_t end = m.tokens * m.columns;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * threads * per_thread;
  std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x) * per_thread;
  const int bin_count = job.into.experts + 2;
  if (record && job.shared_bins) {
    for (int bin = threadIdx.x; bin < bin_count; bin += threads) bins[bin] = 0;
  }
  wait_for_previous();
  auto group = load_group<Id, per_thread>(job, i, end);
  const std::int64_t valid_tokens =
      job.replay.valid_tokens != nullptr ? *job.replay.valid_tokens : m.valid_tokens;
  route_origin origin = job.origin;
  if (route && job.replay.step != nullptr) origin.step = *job.replay.step;
  route_tables tables = job.tables;
  if (route && job.shared_tables) {
    tables = copy_tables<threads>(
        tables,
        reinterpret_cast<std::int32_t*>(shared + (record && job.shared_bins ? bin_count : 0)));
  }
  if ((record && job.shared_bins) || (route && job.shared_tables)) __syncthreads();

  let_next_start();
  while (i < end) {
    const std::int64_t next = i + stride;
    const auto next_group = load_group<Id, per_thread>(job, next, end);
    std::int64_t token;
    std::int32_t column;
    locate(i, m.columns, token, column);
    bool counted[per_thread];
    std::int64_t tokens[per_thread];
    expert_replicas replicas[per_thread];
#pragma unroll
    for (int j = 0; j < per_thread; ++j) {
      const bool valid = token < valid_tokens;
      tokens[j] = token;
      counted[j] = valid && column < m.columns - m.shared_columns;
      if (!valid) group.id[j] = -1;
      if (record && counted[j] && i + j < end) {
        const auto bin = static_cast<std::uint32_t>(record_bin<Id>(group.id[j], job.into.experts));
        if (bin != 0) {
          if (job.shared_bins) {
            atomicAdd(&bins[bin], 1u);
          } else {
            add_bin(job.into, bin, 1);
          }
        }
      }
      if (route && counted[j]) replicas[j] = route_replicas(tables, group.id[j]);
      if (++column == m.columns) {
        column = 0;
        ++token;
      }
    }
    if (route) {
#pragma unroll
      for (int j = 0; j < per_thread; ++j) {
        if (!counted[j]) continue;
        group.id[j] = route_choice(replicas[j], origin, job.mode, tokens[j],
                                   static_cast<std::int32_t>(group.id[j]));
      }
      store_group<Id, per_thread>(job, i, end, group);
    }
    group = next_group;
    i = next;
  }
  if (record && job.shared_bins) {
    __syncthreads();
    for (int bin = 1 + threadIdx.x; bin < bin_count; bin += threads) {
      if (bins[bin] != 0) add_bin(job.into, bin, bins[bin]);
    }
  }
}

template <typename Id, int threads, int per_thread, bool record, bool route>
device_status launch_job(ids_job job, device_stream stream) {
  const std::int64_t ids = job.matrix.tokens * job.matrix.columns;
  if (ids <= 0) return 0;
  const auto addresses = reinterpret_cast<std::uintptr_t>(job.matrix.ids) |
                         reinterpret_cast<std::uintptr_t>(job.slots);
  job.aligned = addresses % (sizeof(Id) * per_thread) == 0;
  std::int64_t shared_words = 0;
  const auto fits = [&](std::int64_t words) {
    if (shared_words + words > shared_words_max) return false;
    shared_words += words;
    return true;
  };
  job.shared_bins = record && fits(std::int64_t{job.into.experts} + 2);
  job.shared_tables = route && job.tables.slots > 0 &&
                      fits(job.tables.experts + 1 + 2 * std::int64_t{job.tables.slots});
  constexpr int tile = threads * per_thread;
  return launch(record_route<Id, threads, per_thread, record, route>,
                ctas_for((ids + tile - 1) / tile, 2048 / threads), threads,
                static_cast<std::size_t>(shared_words) * 4, stream, job);
}

template <bool record, bool route>
device_status launch_for_type(const ids_job& job, device_stream stream) {
  constexpr int threads = record ? 1024 : 512;
  // Two ids at a time where they are 8 bytes together and need no look-up.
  return job.matrix.is_int64 ? launch_job<std::int64_t, threads, 1, record, route>(job, stream)
                             : launch_job < std::int32_t,
         threads, route ? 1 : 2, record, route > (job, stream);
}

}  // namespace

device_status record_device(const id_matrix& ids, const device_counts& into,
                            const replay_values& replay, device_stream stream) {
  ids_job job = {};
  job.matrix = ids;
  job.into = into;
  job.replay = replay;
  return launch_for_type<true, false>(job, stream);
}

device_status route_device(const id_matrix& ids, const route_tables& tables,
                           const route_origin& origin, route_mode mode, void* slots,
                           const replay_values& replay, device_stream stream) {
  ids_job job = {};
  job.matrix = ids;
  job.tables = tables;
  job.origin = origin;
  job.mode = mode;
  job.slots = slots;
  job.replay = replay;
  return launch_for_type<false, true>(job, stream);
}

device_status record_route_device(const id_matrix& ids, const device_counts& into,
                                  const route_tables& tables, const route_origin& origin,
                                  route_mode mode, void* slots, const replay_values& replay,
                                  device_stream stream) {
  return launch_for_type<true, true>(
      {ids, replay, into, tables, origin, mode, slots, false, false, false}, stream);
}

}  // namespace ballast
