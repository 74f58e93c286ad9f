#include "jobs/bench/cuda/device_model.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "jobs/bench/cuda/load_kernels.hpp"
#include "jobs/bench/samples.hpp"

namespace ballast {
namespace {

constexpr std::size_t alignment = 256;  // of tensors and rows, as engines have them

std::size_t aligned(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

}  // namespace

std::vector<std::size_t> split_quantised(std::int64_t bytes) {
  const std::size_t third = static_cast<std::size_t>(bytes) / 3;
  const std::size_t scales = std::max<std::size_t>(third / 4097 / 4 * 4, 4);
  const std::size_t matrix = std::max<std::size_t>((third - scales) / 16 * 16, 16);
  return {matrix, matrix, matrix, scales, scales, scales};
}

void add_gpus(const mpi_session& mpi, const gpu::place& here, bench_table& table) {
  char mine[160] = {};
  std::snprintf(mine, sizeof(mine), "device %d, %s, %s", here.device, here.bus_id.c_str(),
                here.name.c_str());
  std::vector<char> all(sizeof(mine) * static_cast<std::size_t>(mpi.size()));
  MPI_Allgather(mine, sizeof(mine), MPI_CHAR, all.data(), sizeof(mine), MPI_CHAR, mpi.comm());
  for (int rank = 0; rank < mpi.size(); ++rank)
    table.parameter(fmt::format("gpu of rank {}", rank),
                    std::string(&all[sizeof(mine) * static_cast<std::size_t>(rank)]));
}

device_model::device_model(const mpi_session& mpi, const moving_model_shape& shape,
                           ballast_config config, const gpu::stream& compute)
    : mpi_(mpi), shape_(to_replay_shape(shape, mpi.size())), compute_(compute.get()) {
  set_moving(config, shape_, interval);
  config.backend = BALLAST_BACKEND_CUDA;
  config.stream = compute_;
  ballast_context* context = nullptr;
  check(ballast_create(&config, mpi.comm(), &context));
  context_.reset(context);
  together(mpi, [&] {
    std::vector<std::int64_t> loads = loads_of_window(shape_.experts, 0);
    const std::vector<std::int64_t> others = loads_of_window(shape_.experts, 1);
    loads.insert(loads.end(), others.begin(), others.end());
    loads_ = gpu::array<std::int64_t>(loads);
    fill();
  });
  MPI_Barrier(mpi.comm());
  start_seconds_ = seconds_of([&] {
    together(mpi, [&] {
      std::vector<ballast_tensor> tensors(stride_.size());
      for (int layer = 0; layer < shape_.layers; ++layer) {
        for (std::size_t t = 0; t < tensors.size(); ++t)
          tensors[t] = {address(layer, t, 0), shape_.tensor_bytes[t], stride_[t]};
        check(ballast_register_layer(context, layer, tensors.data(),
                                     static_cast<std::int32_t>(tensors.size())));
      }
    });
    check(ballast_start(context));
  });
  MPI_Allreduce(MPI_IN_PLACE, &start_seconds_, 1, MPI_DOUBLE, MPI_MAX, mpi.comm());
}

// One allocation a layer, its tensors one behind the other.
void device_model::fill() {
  std::size_t layer_bytes = 0;
  for (const std::size_t bytes : shape_.tensor_bytes) {
    stride_.push_back(aligned(bytes));
    offset_.push_back(layer_bytes);
    layer_bytes += stride_.back() * static_cast<std::size_t>(shape_.rows_per_rank);
  }
  ballast_layer_tables tables;
  tables.struct_size = sizeof(tables);
  for (int layer = 0; layer < shape_.layers; ++layer) {
    void* memory = nullptr;
    check(ballast_alloc(context_.get(), layer_bytes, &memory));
    layers_.push_back(static_cast<std::byte*>(memory));
    check(ballast_tables(context_.get(), layer, &tables));
    for (std::int32_t row = 0; row < shape_.rows_per_rank; ++row) {
      const std::int32_t expert = tables.expert_of_slot[mpi_.rank() * shape_.rows_per_rank + row];
      for (std::size_t t = 0; expert >= 0 && t < stride_.size(); ++t) {
        BALLAST_GPU(gpu::fill_row(address(layer, t, row), shape_.tensor_bytes[t],
                                  gpu::content_key(layer, expert, static_cast<int>(t)), compute_));
      }
    }
  }
  BALLAST_GPU(cudaStreamSynchronize(compute_));
}

std::byte* device_model::address(int layer, std::size_t tensor, std::int32_t row) const {
  return layers_[layer] + offset_[tensor] + stride_[tensor] * static_cast<std::size_t>(row);
}

void device_model::record_other_half() {
  const std::int64_t* loads = loads_.data() + windows_++ % 2 * shape_.experts;
  for (std::int32_t layer = 0; layer < shape_.layers; ++layer)
    check(ballast_record_counts(context_.get(), layer, loads));
}

ballast_step_result device_model::step() {
  ballast_step_result result;
  result.struct_size = sizeof(result);
  check(ballast_step(context_.get(), &result));
  ++steps_;
  return result;
}

void device_model::approach_trigger(std::int64_t left) {
  while (steps_ % interval != interval - left) step();
}

std::int64_t device_model::wrong_words() const {
  const gpu::array<std::uint64_t> wrong(std::vector<std::uint64_t>{0});
  ballast_layer_tables tables;
  tables.struct_size = sizeof(tables);
  for (std::int32_t layer = 0; layer < shape_.layers; ++layer) {
    check(ballast_tables(context_.get(), layer, &tables));
    for (std::int32_t row = 0; row < shape_.rows_per_rank; ++row) {
      const std::int32_t expert = tables.expert_of_slot[mpi_.rank() * shape_.rows_per_rank + row];
      for (std::size_t t = 0; expert >= 0 && t < stride_.size(); ++t) {
        BALLAST_GPU(gpu::count_wrong_words(address(layer, t, row), shape_.tensor_bytes[t],
                                           gpu::content_key(layer, expert, static_cast<int>(t)),
                                           wrong.data(), compute_));
      }
    }
  }
  return static_cast<std::int64_t>(wrong.to_host()[0]);
}

}  // namespace ballast
