// A replay whose ranks have a GPU each: the weights are there, the ids are brought there, and what
// a pass does is enqueued on one stream, the compute stream that Ballast is told.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "jobs/cuda/choice.hpp"
#include "jobs/cuda/gpu.hpp"
#include "jobs/replay/backend.hpp"
#include "jobs/replay/cuda/device_ffn.hpp"
#include "jobs/replay/cuda/device_weights.hpp"
#include "jobs/replay/setup.hpp"

namespace ballast {
namespace {

/// Brings integers to the device without making the host wait, unless the last ones are still on
/// their way.
class integer_upload {
 public:
  void send(std::span<const std::int32_t> values, std::int32_t* to, cudaStream_t stream) {
    if (values.empty()) return;
    done_.wait();
    gpu::grow(host_, values.size());
    std::memcpy(host_.data(), values.data(), values.size_bytes());
    BALLAST_GPU(
        cudaMemcpyAsync(to, host_.data(), values.size_bytes(), cudaMemcpyHostToDevice, stream));
    done_.record(stream);
  }

 private:
  gpu::pinned_array<std::int32_t> host_;
  gpu::timer done_;
};

class cuda_replay : public replay_backend {
 public:
  cuda_replay(const mpi_session& mpi, const replay_options& options, const replay_shape& shape,
              const gpu::choice& gpu, int sharers_max);

  const char* name() const override { return "cuda"; }
  std::string describe() const override;
  void configure(ballast_config& config) const override;
  weight_rows& allocate(ballast_context* context) override;
  void keep_initial() override;
  void play(ballast_context* context, int layer, std::span<const std::int32_t> given) override;
  void compare_outputs(int layer, std::int64_t step,
                       std::span<const std::int32_t> initial_slots) override;
  double take_expert_seconds() override { return std::exchange(expert_seconds_, 0.0); }
  void take_routed(std::span<std::int64_t> routed) override;
  output_comparison outputs() override;

 private:
  device_weights_shape weights_shape() const;

  const mpi_session& mpi_;
  const replay_options& options_;
  const replay_shape& shape_;
  gpu::choice gpu_;
  int sharers_max_;  // ranks on the GPU that most ranks share
  gpu::stream compute_;
  std::array<integer_upload, 4> id_uploads_;  // the host is at most so many layers ahead
  std::size_t next_upload_ = 0;
  gpu::array<std::int32_t> ids_, slots_;  // of the layer played last
  gpu::array<device_counter> routed_;     // [layers][ranks]
  std::optional<device_weights> rows_;    // in the context's memory
  // --ffn only, from here on.
  std::vector<gpu::array<std::byte>> initial_memory_;
  std::optional<device_weights> initial_rows_;  // as they were at the start
  integer_upload initial_upload_;
  gpu::array<std::int32_t> initial_slots_;
  gpu::array<float> live_outputs_, initial_outputs_;
  std::int64_t compared_ = 0;
  std::size_t played_ = 0;  // ids of the layer played last
  double expert_seconds_ = 0;
  gpu::array<device_counter> different_;  // one
  std::optional<device_ffn> ffn_;         // goes first: it ends what waits for other ranks
};

cuda_replay::cuda_replay(const mpi_session& mpi, const replay_options& options,
                         const replay_shape& shape, const gpu::choice& gpu, int sharers_max)
    : mpi_(mpi),
      options_(options),
      shape_(shape),
      gpu_(gpu),
      sharers_max_(sharers_max),
      routed_(static_cast<std::size_t>(shape.layers) * mpi.size()),
      different_(1) {
  for (const gpu::array<device_counter>* counters : {&routed_, &different_}) {
    BALLAST_GPU(cudaMemsetAsync(counters->data(), 0, counters->size() * sizeof(device_counter),
                                compute_.get()));
  }
}

std::string cuda_replay::describe() const {
  return fmt::format("memory of {} ({})", gpu_.model,
                     sharers_max_ == 1 ? std::string("a GPU for each rank")
                                       : fmt::format("{} ranks share a GPU", sharers_max_));
}

void cuda_replay::configure(ballast_config& config) const {
  config.backend = BALLAST_BACKEND_CUDA;
  config.device = gpu_.device;
  config.stream = compute_.get();
}

device_weights_shape cuda_replay::weights_shape() const {
  return {shape_.layers, shape_.rows_per_rank, shape_.tensor_bytes,
          options_.ffn ? weight_content::ternary : weight_content::bytes};
}

weight_rows& cuda_replay::allocate(ballast_context* context) {
  return rows_.emplace(
      weights_shape(),
      [&](std::size_t bytes) {
        void* memory = nullptr;
        check(ballast_alloc(context, bytes, &memory));
        return memory;
      },
      compute_.get());
}

void cuda_replay::keep_initial() {
  together(mpi_, [&] {
    initial_rows_.emplace(
        weights_shape(),
        [&](std::size_t bytes) { return initial_memory_.emplace_back(bytes).data(); },
        compute_.get());
    initial_rows_->copy_from(*rows_);
  });
  device_ffn_shape shape;
  shape.sizes = {options_.ffn_hidden, options_.ffn_intermediate};
  shape.rows_per_rank = shape_.rows_per_rank;
  shape.columns = shape_.top_k;
  shape.tokens_max = options_.ffn_tokens;
  shape.deadline_seconds = options_.deadline_seconds;
  ffn_.emplace(mpi_, shape, compute_.get());
}

void cuda_replay::play(ballast_context* context, int layer, std::span<const std::int32_t> given) {
  played_ = given.size();
  gpu::grow(ids_, given.size());
  gpu::grow(slots_, given.size());
  id_uploads_[next_upload_++ % id_uploads_.size()].send(given, ids_.data(), compute_.get());
  ballast_ids ids;
  ballast_ids_init(&ids);
  ids.ids = ids_.data();
  ids.tokens = ids.valid_tokens = static_cast<std::int64_t>(given.size());
  check(ballast_record_route(context, layer, &ids, BALLAST_ROUTE_SHARES, slots_.data()));
  BALLAST_GPU(count_routed(slots_.data(), ids.tokens, shape_.rows_per_rank,
                           routed_.data() + static_cast<std::size_t>(layer) * mpi_.size(),
                           compute_.get()));
}

void cuda_replay::compare_outputs(int layer, std::int64_t step,
                                  std::span<const std::int32_t> initial_slots) {
  device_ffn::pass pass;
  pass.layer = layer;
  pass.step = step;
  pass.tokens = static_cast<std::int64_t>(initial_slots.size()) / shape_.top_k;
  pass.slots = slots_.data();
  ffn_->run(*rows_, pass, live_outputs_);
  gpu::grow(initial_slots_, initial_slots.size());
  initial_upload_.send(initial_slots, initial_slots_.data(), compute_.get());
  pass.slots = initial_slots_.data();
  ffn_->run(*initial_rows_, pass, initial_outputs_);
  if (!initial_slots.empty()) {
    expert_seconds_ += ffn_->seconds_before() * static_cast<double>(played_) /
                       static_cast<double>(initial_slots.size());
  }
  const std::int64_t count = pass.tokens * options_.ffn_hidden;
  BALLAST_GPU(count_different(live_outputs_.data(), initial_outputs_.data(), count,
                              different_.data(), compute_.get()));
  compared_ += count;
}

void cuda_replay::take_routed(std::span<std::int64_t> routed) {
  std::vector<device_counter> found(routed_.size());
  const std::size_t bytes = found.size() * sizeof(device_counter);
  BALLAST_GPU(
      cudaMemcpyAsync(found.data(), routed_.data(), bytes, cudaMemcpyDeviceToHost, compute_.get()));
  BALLAST_GPU(cudaMemsetAsync(routed_.data(), 0, bytes, compute_.get()));
  BALLAST_GPU(cudaStreamSynchronize(compute_.get()));
  for (std::size_t i = 0; i < found.size(); ++i) routed[i] += static_cast<std::int64_t>(found[i]);
}

output_comparison cuda_replay::outputs() {
  device_counter different = 0;
  BALLAST_GPU(cudaMemcpyAsync(&different, different_.data(), sizeof(different),
                              cudaMemcpyDeviceToHost, compute_.get()));
  BALLAST_GPU(cudaStreamSynchronize(compute_.get()));
  return {compared_, static_cast<std::int64_t>(different)};
}

// What the experts of one rank take; throws where that is no number.
struct memory_needed {
  std::int64_t rows = 0, staging = 0, copy = 0;
  std::int64_t all() const { return rows + staging + copy; }

  memory_needed(const replay_options& options, const replay_shape& shape) {
    std::int64_t expert = 0;
    for (const std::size_t bytes : shape.tensor_bytes)
      expert += static_cast<std::int64_t>(row_stride(bytes));
    const std::int64_t kept =
        std::int64_t{shape.layers} * shape.rows_per_rank * (options.ffn ? 2 : 1);
    const std::int64_t staged = 2 * std::int64_t{options.staging_experts};
    std::int64_t sum = 0;
    if (__builtin_mul_overflow(expert, kept + staged, &sum)) {
      throw std::invalid_argument(fmt::format("{} experts of {} bytes are more than can be counted",
                                              kept + staged, shape.expert_bytes));
    }
    rows = expert * shape.layers * shape.rows_per_rank;
    staging = expert * staged;
    copy = options.ffn ? rows : 0;
  }
};

// Of all ranks before any of them allocates.
void require_memory(const replay_options& options, const replay_shape& shape,
                    const gpu::choice& gpu) {
  const memory_needed needed(options, shape);
  std::size_t free = 0;
  std::size_t total = 0;
  BALLAST_GPU(cudaMemGetInfo(&free, &total));
  if (needed.all() <= static_cast<std::int64_t>(free) / gpu.sharers) return;
  throw job_error(
      exit_code::system,
      fmt::format(
          "{} bytes of GPU memory are needed{}: {} for {} rows in each of {} layers, {} to "
          "stage{}; {} of {} are free",
          needed.all(), gpu.sharers > 1 ? fmt::format(" by each of {} ranks", gpu.sharers) : "",
          needed.rows, shape.rows_per_rank, shape.layers, needed.staging,
          options.ffn ? fmt::format(", {} for --ffn's copy", needed.copy) : "", free, total));
}

void require_possible(const mpi_session& mpi, const replay_options& options,
                      const gpu::choice& gpu) {
  if (gpu.device < 0)
    throw job_error(exit_code::system, fmt::format("--backend cuda: no GPU: {}", gpu.why_none));
  if (options.transport == "mpi") {
    throw std::invalid_argument("--transport mpi: the cuda backend has copy and nccl");
  }
  const bool needs_own = mpi.size() > 1 && (options.ffn || options.transport == "nccl");
  if (needs_own && gpu.first_sharer != mpi.rank()) {
    throw std::invalid_argument(
        fmt::format("{}: shares a GPU with rank {}, NCCL needs one for each",
                    options.ffn ? "--ffn" : "--transport nccl", gpu.first_sharer));
  }
}

// The lowest rank's text that is not empty, on all ranks.
std::string first_text(const mpi_session& mpi, const std::string& text) {
  int first = text.empty() ? mpi.size() : mpi.rank();
  MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, mpi.comm());
  if (first == mpi.size()) return "";
  std::string all = text;
  int length = static_cast<int>(all.size());
  MPI_Bcast(&length, 1, MPI_INT, first, mpi.comm());
  all.resize(length);
  MPI_Bcast(all.data(), length, MPI_CHAR, first, mpi.comm());
  return all;
}

}  // namespace

std::string why_not_a_gpu_each(const mpi_session& mpi) {
  const gpu::choice mine = gpu::choose(mpi);
  std::string why;
  if (mine.device < 0)
    why = fmt::format("rank {} sees no GPU", mpi.rank());
  else if (mine.first_sharer != mpi.rank())
    why = fmt::format("rank {} would share the GPU of rank {}", mpi.rank(), mine.first_sharer);
  return first_text(mpi, why);
}

std::unique_ptr<replay_backend> make_cuda_replay(const mpi_session& mpi,
                                                 const replay_options& options,
                                                 const replay_shape& shape) {
  const gpu::choice gpu = gpu::choose(mpi);
  together(mpi, [&] { require_possible(mpi, options, gpu); });
  int sharers_max = gpu.sharers;
  MPI_Allreduce(MPI_IN_PLACE, &sharers_max, 1, MPI_INT, MPI_MAX, mpi.comm());
  std::unique_ptr<replay_backend> made;
  together(mpi, [&] {
    BALLAST_GPU(cudaSetDevice(gpu.device));
    require_memory(options, shape, gpu);
  });
  together(mpi,
           [&] { made = std::make_unique<cuda_replay>(mpi, options, shape, gpu, sharers_max); });
  return made;
}

}  // namespace ballast
