#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "jobs/replay/backend.hpp"
#include "jobs/replay/ffn.hpp"
#include "jobs/replay/setup.hpp"

namespace ballast {
namespace {

class host_replay : public replay_backend {
 public:
  host_replay(const mpi_session& mpi, const replay_options& options, const replay_shape& shape)
      : mpi_(mpi),
        all_ranks_(mpi.comm(), options.deadline_seconds),
        shape_(shape),
        ffn_shape_{options.ffn_hidden, options.ffn_intermediate},
        content_(options.ffn ? weight_content::ternary : weight_content::bytes),
        routed_(static_cast<std::size_t>(shape.layers) * mpi.size()) {}

  const char* name() const override { return "host"; }
  std::string describe() const override { return "host memory"; }
  void configure(ballast_config& config) const override { config.backend = BALLAST_BACKEND_HOST; }

  weight_rows& allocate(ballast_context*) override {
    return rows_.emplace(shape_.rows_per_layer(), shape_.tensor_bytes, content_);
  }

  void keep_initial() override {
    together(mpi_, [&] { initial_rows_ = *rows_; });
    ffn_.emplace(all_ranks_, ffn_shape_, shape_.rows_per_rank);
  }

  void play(ballast_context* context, int layer, std::span<const std::int32_t> given) override {
    slots_.resize(given.size());
    ballast_ids ids;
    ballast_ids_init(&ids);
    ids.ids = given.data();
    ids.tokens = ids.valid_tokens = static_cast<std::int64_t>(given.size());
    check(ballast_record_route(context, layer, &ids, BALLAST_ROUTE_SHARES, slots_.data()));
    std::int64_t* routed = routed_.data() + static_cast<std::size_t>(layer) * mpi_.size();
    for (const std::int32_t slot : slots_) {
      if (slot >= 0) ++routed[slot / shape_.rows_per_rank];
    }
  }

  void compare_outputs(int layer, std::int64_t step,
                       std::span<const std::int32_t> initial_slots) override {
    const int columns = shape_.top_k;
    ffn_->run(*rows_, layer, step, {slots_.data(), initial_slots.size()}, columns, live_);
    expert_seconds_ += ffn_->seconds() * ids_over(initial_slots.size());
    ffn_->run(*initial_rows_, layer, step, initial_slots, columns, initial_);
    for (std::size_t i = 0; i < live_.size(); ++i) outputs_.different += !(live_[i] == initial_[i]);
    outputs_.compared += static_cast<std::int64_t>(live_.size());
  }

  double take_expert_seconds() override { return std::exchange(expert_seconds_, 0.0); }

  void take_routed(std::span<std::int64_t> routed) override {
    for (std::size_t i = 0; i < routed_.size(); ++i) routed[i] += std::exchange(routed_[i], 0);
  }

  output_comparison outputs() override { return outputs_; }

 private:
  double ids_over(std::size_t used) const {
    return used == 0 ? 0.0 : static_cast<double>(slots_.size()) / static_cast<double>(used);
  }

  const mpi_session& mpi_;
  collectives all_ranks_;
  const replay_shape& shape_;
  ffn_shape ffn_shape_;
  weight_content content_;
  std::optional<replay_weights> rows_;
  std::optional<replay_weights> initial_rows_;  // --ffn: as they were at the start
  std::optional<expert_ffn> ffn_;
  std::vector<std::int32_t> slots_;   // of the ids played last
  std::vector<std::int64_t> routed_;  // [layers][ranks]
  std::vector<float> live_, initial_;
  output_comparison outputs_;
  double expert_seconds_ = 0;
};

}  // namespace

std::unique_ptr<replay_backend> make_host_replay(const mpi_session& mpi,
                                                 const replay_options& options,
                                                 const replay_shape& shape) {
  if (options.transport == "copy" || options.transport == "nccl") {
    throw std::invalid_argument(
        fmt::format("--transport {}: the host backend has mpi and local", options.transport));
  }
  if (options.ffn && !has_openblas())
    throw std::invalid_argument("this build has no OpenBLAS: --ffn is not available");
  return std::make_unique<host_replay>(mpi, options, shape);
}

std::unique_ptr<replay_backend> make_replay_backend(const mpi_session& mpi,
                                                    const replay_options& options,
                                                    const replay_shape& shape,
                                                    std::string& choice) {
  if (options.transport == "local" && mpi.size() > 1) {
    throw job_error(
        exit_code::bad_input,
        fmt::format("--transport local: {} ranks cannot reach each other by it", mpi.size()));
  }
  if (options.backend == "cuda") return make_cuda_replay(mpi, options, shape);
  if (options.backend == "host") return make_host_replay(mpi, options, shape);
  const std::string why_not =
      options.transport == "mpi" ? "--transport is mpi" : why_not_a_gpu_each(mpi);
  choice = fmt::format("auto: {}", why_not.empty() ? "a GPU for every rank" : why_not);
  return why_not.empty() ? make_cuda_replay(mpi, options, shape)
                         : make_host_replay(mpi, options, shape);
}

}  // namespace ballast
