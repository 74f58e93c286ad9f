#include "tests/mpi/bare_model.hpp"

#include <utility>

#include "tests/mpi/live_model.hpp"
#include "tests/mpi/made_up_loads.hpp"

namespace ballast {
namespace {

// Also chooses this process's device, on which weights are allocated next.
ballast_config for_this_process(ballast_config config) {
  use_backend_of_tests(config, rank_of(MPI_COMM_WORLD));
  return config;
}

}  // namespace

bare_model::bare_model(MPI_Comm comm, const ballast_config& given)
    : config(for_this_process(given)),
      comm_(comm),
      rows_(given.slots_per_rank + given.spare_rows),
      weights_(given.layers, rows_) {}

ballast_status bare_model::create() { return ballast_create(&config, comm_, &context); }

ballast_status bare_model::load() {
  ballast_status status = BALLAST_OK;
  ballast_layer_tables t = {};
  t.struct_size = sizeof(t);
  for (int layer = 0; layer < config.layers && status == BALLAST_OK; ++layer) {
    status = ballast_tables(context, layer, &t);
    if (status != BALLAST_OK) break;
    for (int row = 0; row < rows_; ++row) {
      const std::int32_t expert = t.expert_of_slot[rank_of(comm_) * rows_ + row];
      if (expert >= 0) weights_.fill(layer, row, expert);
    }
    const std::vector<ballast_tensor> tensors = weights_.tensors(layer);
    status = ballast_register_layer(context, layer, tensors.data(),
                                    static_cast<std::int32_t>(tensors.size()));
  }
  return status;
}

ballast_status bare_model::begin() {
  ballast_status status = create();
  if (status == BALLAST_OK) status = load();
  return status == BALLAST_OK ? start() : status;
}

ballast_status bare_model::destroy() { return ballast_destroy(std::exchange(context, nullptr)); }

ballast_status bare_model::record_counts(int layer, const std::vector<std::int64_t>& counts) {
  const void* lent = memory_->lend(counts.data(), counts.size() * sizeof(counts[0]));
  return ballast_record_counts(context, layer, static_cast<const std::int64_t*>(lent));
}

void bare_model::record(std::uint64_t seed, std::int64_t step) {
  const std::vector<std::int64_t> loads = made_up_loads(seed, step, config.layers, config.experts);
  std::vector<std::int64_t> counts(config.experts);
  for (int layer = 0; layer < config.layers; ++layer) {
    for (int e = 0; e < config.experts; ++e) {
      counts[e] =
          part_of(loads[layer * config.experts + e], step + e, rank_of(comm_), size_of(comm_));
    }
    record_counts(layer, counts);
  }
}

}  // namespace ballast
