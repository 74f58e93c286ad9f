// Times the kernels of kernels/ by CUDA events around replays of a graph of many launches, checks
// in the same run what they wrote against the host twins, and sets beside each time its floor: an
// empty launch plus the bytes at the speed of a large copy.
//   kernel_bench            "warm" rows launch on the same data again and again, "cold" ones on
//   data that left the L2 cache
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/commit.hpp"
#include "kernels/copy_rows.hpp"
#include "kernels/hash.hpp"
#include "kernels/launch.cuh"
#include "kernels/pack.hpp"
#include "kernels/route.hpp"
#include "tests/gpu/routing_scene.hpp"

namespace {

using namespace ballast;

constexpr std::int64_t tokens = 8192;
constexpr std::int32_t columns = 8;
constexpr int experts = 256;
constexpr int ranks = 8, rows_per_rank = 36;  // 32 redundant slots
constexpr std::size_t expert_bytes = std::size_t{42} << 20;

void check(int status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(static_cast<cudaError_t>(status)));
  std::exit(71);
}

// Device memory of this program is not freed: it ends with the program.
template <typename T>
T* on_device(std::span<const T> values) {
  void* data = nullptr;
  check(cudaMalloc(&data, std::max<std::size_t>(values.size_bytes(), 1)), "cudaMalloc");
  check(cudaMemcpy(data, values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
        "copy to the device");
  check(cudaDeviceSynchronize(), "copy to the device");
  return static_cast<T*>(data);
}

template <typename T>
T* zeros_on_device(std::size_t size) {
  return on_device<T>(std::vector<T>(size));
}

template <typename T>
std::vector<T> on_host(const T* data, std::size_t size) {
  std::vector<T> values(size);
  check(cudaMemcpy(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost),
        "copy to the host");
  return values;
}

template <typename T>
std::int64_t differences(const std::vector<T>& a, const std::vector<T>& b) {
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < a.size(); ++i) wrong += a[i] != b[i];
  return wrong;
}

__global__ void empty() {}

__global__ void empty_waiting() { wait_for_previous(); }

class bench {
 public:
  bench() {
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    for (cudaEvent_t* event : {&begin_, &end_}) check(cudaEventCreate(event), "cudaEventCreate");
  }

  // Microseconds of one call of `launch` in a graph of `launches` of them: median over replays.
  double time(int launches, const std::function<void(int)>& launch) {
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
    for (int i = 0; i < launches; ++i) launch(i);
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&executable, graph, 0), "instantiate");
    std::vector<double> us;
    for (int i = 0; i < warm_ups + replays; ++i) {
      check(cudaEventRecord(begin_, stream), "record");
      check(cudaGraphLaunch(executable, stream), "replay");
      check(cudaEventRecord(end_, stream), "record");
      check(cudaStreamSynchronize(stream), "replay");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin_, end_), "elapsed");
      if (i >= warm_ups) us.push_back(ms * 1e3 / launches);
    }
    check(cudaGraphExecDestroy(executable), "destroy");
    check(cudaGraphDestroy(graph), "destroy");
    std::sort(us.begin(), us.end());
    min_ = us.front();
    max_ = us.back();
    return us[us.size() / 2];
  }

  // Times and prints; `bytes` are those that a launch must move. `wrong` is called after the
  // launches.
  double row(
      const std::string& name, double bytes, int launches, const std::function<void(int)>& launch,
      const std::function<std::int64_t()>& wrong = [] { return 0; }) {
    const double us = time(launches, launch);
    const double floor_us = empty_us + (gb_per_s > 0 ? bytes / gb_per_s / 1e3 : 0);
    std::printf("%-34s %12.0f %9.2f %9.2f %9.2f %9.1f %9.2f %8.2f %6lld\n", name.c_str(), bytes,
                min_, us, max_, bytes / us / 1e3, floor_us, us / floor_us,
                static_cast<long long>(wrong()));
    return us;
  }

  cudaStream_t stream = nullptr;
  double empty_us = 0;
  double gb_per_s = 0;  // of a large copy, bytes read plus bytes written
  static constexpr int warm_ups = 3, replays = 21;

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  double min_ = 0, max_ = 0;
};

int sets_that_leave_the_cache(std::size_t bytes) {
  return static_cast<int>((std::size_t{256} << 20) / bytes);
}

// Launches on one set of ids or in turn on sets that together are several times the L2 cache.
template <typename Id>
void bench_ids(bench& b, const char* type) {
  std::mt19937_64 random(1);
  const std::size_t n = tokens * columns;
  const int sets = sets_that_leave_the_cache(2 * n * sizeof(Id));
  const layer_tables host_tables = random_tables(experts, ranks * rows_per_rank, true, random);
  const std::vector<std::int32_t> node_of_rank(ranks, 0);
  const route_tables tables = {experts, on_device<std::int32_t>(host_tables.first),
                               on_device<std::int32_t>(host_tables.slot),
                               on_device<std::int32_t>(host_tables.share_end),
                               ranks * rows_per_rank};
  const route_origin host_origin = {3, rows_per_rank, node_of_rank.data(), 12345};
  route_origin origin = host_origin;
  origin.node_of_rank = on_device<std::int32_t>(node_of_rank);
  std::vector<Id> ids = random_ids<Id>(n, experts, 0, random);
  std::vector<Id*> device_ids, device_slots;
  for (int s = 0; s < sets; ++s) {
    device_ids.push_back(on_device<Id>(ids));
    device_slots.push_back(zeros_on_device<Id>(n));
  }
  const Id* hot = on_device<Id>(std::vector<Id>(n, 77));
  const device_counts into = {experts, zeros_on_device<std::int64_t>(experts),
                              zeros_on_device<std::int64_t>(1)};
  const auto matrix = [&](const Id* at) {
    return id_matrix{at, sizeof(Id) == 8, columns, 0, tokens, tokens};
  };

  std::vector<std::int64_t> one_pass(experts, 0);
  std::vector<std::uint32_t> scratch(record_scratch_size(experts), 0);
  record_host(matrix(ids.data()), one_pass, scratch);
  const auto wrong_counts = [&] {
    const auto counts = on_host(into.counts, experts);
    const std::int64_t passes = counts[0] / one_pass[0];
    std::int64_t wrong = 0;
    for (int e = 0; e < experts; ++e) wrong += counts[e] != passes * one_pass[e];
    check(cudaMemset(into.counts, 0, experts * sizeof(std::int64_t)), "clear");
    check(cudaDeviceSynchronize(), "clear");
    return wrong;
  };
  const auto wrong_slots = [&](route_mode mode) {
    std::vector<Id> expected(n);
    route_host(matrix(ids.data()), host_tables.get(), host_origin, mode, expected.data());
    return differences(on_host(device_slots[0], n), expected);
  };

  for (const bool cold : {false, true}) {
    const std::string suffix = std::string(" ") + type + (cold ? " cold" : " warm");
    const auto set = [&](int i) { return cold ? i % sets : 0; };
    const double id_bytes = static_cast<double>(n * sizeof(Id));
    b.row(
        "record" + suffix, id_bytes, sets,
        [&](int i) {
          check(record_device(matrix(device_ids[set(i)]), into, {}, b.stream), "record");
        },
        wrong_counts);
    const std::pair<const char*, route_mode> modes[] = {{"route", route_mode::shares},
                                                        {"route local", route_mode::local}};
    for (const auto& [name, mode] : modes) {
      b.row(
          name + suffix, 2 * id_bytes, sets,
          [&](int i) {
            check(route_device(matrix(device_ids[set(i)]), tables, origin, mode,
                               device_slots[set(i)], {}, b.stream),
                  "route");
          },
          [&] { return wrong_slots(mode); });
    }
    b.row(
        "record+route" + suffix, 2 * id_bytes, sets,
        [&](int i) {
          check(record_route_device(matrix(device_ids[set(i)]), into, tables, origin,
                                    route_mode::shares, device_slots[set(i)], {}, b.stream),
                "record+route");
        },
        [&] { return wrong_counts() + wrong_slots(route_mode::shares); });
  }
  b.row(
      std::string("record, all of one expert ") + type, static_cast<double>(n * sizeof(Id)), 100,
      [&](int) { check(record_device(matrix(hot), into, {}, b.stream), "record"); },
      [&] { return static_cast<std::int64_t>(on_host(into.counts, experts)[77] % n); });
}

void bench_small(bench& b) {
  constexpr int scales = 12;  // four experts of DeepSeek-V3 in FP8
  constexpr int scales_bytes = 3584;
  std::vector<unsigned char> values(scales * scales_bytes);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<unsigned char>(i * 7 + i / 251);
  unsigned char* from = on_device<unsigned char>(values);
  auto* to = zeros_on_device<unsigned char>(values.size());
  row_copies rows;
  rows.count = scales;
  for (int i = 0; i < scales; ++i) {
    rows.bytes[i] = scales_bytes;
    rows.from[i] = from + i * scales_bytes;
    rows.to[i] = to + i * scales_bytes;
  }
  b.row(
      "copy 12 rows of scales", 2.0 * values.size(), 100,
      [&](int) { check(copy_rows_device(rows, 2, b.stream), "copy_rows"); },
      [&] { return on_host(to, static_cast<std::int64_t>(values.size())) == values ? 0 : 1; });
  std::vector<table_copy> copies;
  const std::int64_t sizes[] = {experts + 1, ranks * rows_per_rank, ranks * rows_per_rank};
  double bytes = 0;
  for (int i = 0; i < 58 * 3; ++i) {
    const std::int64_t size = sizes[i % 3];
    copies.push_back(
        {zeros_on_device<std::int32_t>(size), zeros_on_device<std::int32_t>(size), size});
    bytes += 8.0 * size;
  }
  const table_copy* list = on_device<table_copy>(copies);
  b.row("commit 58 layers", bytes, 100,
        [&](int) { check(commit_tables_device(list, 58 * 3, b.stream), "commit"); });
}

// Experts of 42 MiB as DeepSeek-V3's in FP8: three matrices and their scales; several, so that none
// is in the cache.
void bench_weights(bench& b) {
  constexpr int sets = 8;
  const std::uint64_t matrix_bytes = std::uint64_t{7168} * 2048, scale_bytes = 56 * 16 * 4;
  const std::uint64_t sizes[] = {matrix_bytes, matrix_bytes, matrix_bytes,
                                 scale_bytes,  scale_bytes,  scale_bytes};
  const expert_shape shape = shape_of(sizes);
  std::mt19937_64 random(2);
  std::vector<std::uint64_t> bytes(shape.packed_bytes / 8);
  for (std::uint64_t& word : bytes) word = random();
  std::vector<unsigned char*> from, to;
  for (int s = 0; s < sets; ++s) {
    from.push_back(reinterpret_cast<unsigned char*>(on_device<std::uint64_t>(bytes)));
    to.push_back(reinterpret_cast<unsigned char*>(zeros_on_device<std::uint64_t>(bytes.size())));
  }
  const double weight_bytes = 3.0 * (matrix_bytes + scale_bytes);
  std::uint64_t expected = 0;
  hash_experts_host(shape, {nullptr, bytes.data()}, 1, &expected);
  auto* scratch = zeros_on_device<std::uint64_t>(hash_scratch_size(shape.tensors, 1));
  auto* hash = zeros_on_device<std::uint64_t>(1);

  b.row("cudaMemcpyAsync of 42 MiB", 2.0 * expert_bytes, 16, [&](int i) {
    check(cudaMemcpyAsync(to[i % sets], from[i % sets], expert_bytes, cudaMemcpyDeviceToDevice,
                          b.stream),
          "copy");
  });
  b.row(
      "pack an expert", 2 * weight_bytes, 16,
      [&](int i) {
        check(copy_experts_device(shape, {nullptr, from[i % sets]}, {nullptr, to[i % sets]}, 1, 0,
                                  b.stream),
              "pack");
      },
      [&] {
        return differences(on_host(reinterpret_cast<std::uint64_t*>(to[0]), bytes.size() - 100),
                           bytes) > 300;
      });
  for (const int ctas : {0, 1, 2, 4, 8, 16}) {
    b.row(
        ctas == 0 ? "hash, whole GPU" : "hash, " + std::to_string(ctas) + " CTAs", weight_bytes, 16,
        [&](int i) {
          check(hash_experts_device(shape, {nullptr, from[i % sets]}, 1, hash, scratch, ctas,
                                    b.stream),
                "hash");
        },
        [&] { return on_host(hash, 1)[0] != expected; });
  }
}

}  // namespace

int main() {
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  std::printf(
      "# %s, %d multiprocessors, %d MiB L2, CUDA %d; %lld tokens x %d, %d experts in %d slots; "
      "median of %d replays\n",
      device.name, device.multiProcessorCount, device.l2CacheSize >> 20, CUDART_VERSION,
      static_cast<long long>(tokens), columns, experts, ranks * rows_per_rank, bench::replays);
  std::printf("%-34s %12s %9s %9s %9s %9s %9s %8s %6s\n", "# kernel", "bytes", "us min", "us",
              "us max", "GB/s", "floor us", "x floor", "wrong");
  bench b;
  const std::size_t large = std::size_t{1} << 30;
  auto* from = zeros_on_device<std::uint32_t>(large / 4);
  auto* to = zeros_on_device<std::uint32_t>(large / 4);
  check(cudaMemset(from, 0x5c, large), "memset");
  b.gb_per_s = 2.0 * large / 1e3 / b.row("cudaMemcpyAsync of 1 GiB", 2.0 * large, 4, [&](int) {
    check(cudaMemcpyAsync(to, from, large, cudaMemcpyDeviceToDevice, b.stream), "copy");
  });
  b.empty_us = b.row("an empty kernel, 64 x 256 threads", 0, 400,
                     [&](int) { empty<<<64, 256, 0, b.stream>>>(); });
  b.row("the same by our launch", 0, 400,
        [&](int) { check(launch(empty_waiting, 64, 256, 0, b.stream), "empty"); });
  b.row("cudaMemcpyAsync of 256 KiB", 2.0 * (256 << 10), 100, [&](int i) {
    check(cudaMemcpyAsync(to + (i << 16), from + (i << 16), 256 << 10, cudaMemcpyDeviceToDevice,
                          b.stream),
          "copy");
  });
  bench_ids<std::int32_t>(b, "int32");
  bench_ids<std::int64_t>(b, "int64");
  bench_small(b);
  bench_weights(b);
}
