#include "jobs/bench/id_bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>

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

id_shape parse_id_shape(const std::string& text) {
  id_shape shape;
  int used = 0;
  const int fields = std::sscanf(text.c_str(), "%" SCNd64 "x%" SCNd32 "/%" SCNd32 "%n",
                                 &shape.tokens, &shape.columns, &shape.experts, &used);
  const bool good = fields == 3 && used == static_cast<int>(text.size()) && shape.tokens >= 1 &&
                    shape.tokens <= (1 << 26) && shape.columns >= 1 && shape.columns <= 64 &&
                    shape.experts >= 1 && shape.experts <= 65536;
  if (!good)
    throw job_error(exit_code::usage,
                    fmt::format("--cases {}: expected TOKENSxK/EXPERTS, e.g. 8192x8/256", text));
  return shape;
}

ballast_config record_config(const id_shape& shape, int ranks) {
  ballast_config config;
  ballast_config_init(&config);
  config.experts = shape.experts;
  config.slots_per_rank = (shape.experts + ranks - 1) / ranks;
  config.mode = BALLAST_MODE_RECORD;
  config.interval = 1000;
  return config;
}

window_report close_window(ballast_context* context) {
  ballast_step_result result;
  result.struct_size = sizeof(result);
  do check(ballast_step(context, &result));
  while (result.epoch_closed == 0);
  ballast_epoch epoch;
  epoch.struct_size = sizeof(epoch);
  check(ballast_epoch_report(context, 0, &epoch));
  return {epoch.digest, epoch.window_tokens};
}

int repetitions_for(std::int64_t ids) {
  constexpr std::int64_t ids_per_case = 200'000'000;
  return static_cast<int>(
      std::clamp<std::int64_t>(ids_per_case / std::max<std::int64_t>(ids, 1), 5, 1000));
}

}  // namespace ballast
