#include "jobs/bench/id_bench.hpp"

#include <algorithm>

namespace ballast {
namespace {

constexpr std::size_t expert_bytes = 16;

}  // namespace

weightless_model::weightless_model(const mpi_session& mpi, ballast_config config)
    : weights_(1, config.slots_per_rank + config.spare_rows, {expert_bytes},
               weight_content::bytes) {
  config.layers = 1;
  ballast_context* context = nullptr;
  check(ballast_create(&config, mpi.comm(), &context));
  context_.reset(context);
  replay_shape shape;
  shape.layers = 1;
  shape.experts = config.experts;
  shape.slots_per_rank = config.slots_per_rank;
  shape.rows_per_rank = config.slots_per_rank + config.spare_rows;
  load_and_start(mpi, context, shape, weights_);
}

int repetitions_for(std::int64_t ids) {
  constexpr std::int64_t ids_per_case = 200'000'000;
  return static_cast<int>(
      std::clamp<std::int64_t>(ids_per_case / std::max<std::int64_t>(ids, 1), 5, 1000));
}

}  // namespace ballast
