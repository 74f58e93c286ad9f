// The exported functions of contexts: each is one call of guard().
#include <fmt/format.h>

#include <algorithm>

#include "policies/plan.hpp"
#include "runtime/error.hpp"
#include "runtime/guard.hpp"
#include "runtime/plugins.hpp"
#include "runtime/runtime.hpp"

using ballast::copy_out;
using ballast::error;
using ballast::guard;
using ballast::require_argument;
using ballast::require_struct_size;

extern "C" {

const char* ballast_last_error(void) { return ballast::last_error_text(); }

const char* ballast_status_name(ballast_status status) {
  switch (status) {
    case BALLAST_OK:
      return "ok";
    case BALLAST_ERROR_INVALID_ARGUMENT:
      return "invalid argument";
    case BALLAST_ERROR_CONFIG_MISMATCH:
      return "config mismatch";
    case BALLAST_ERROR_STATE:
      return "wrong state";
    case BALLAST_ERROR_MPI:
      return "MPI error";
    case BALLAST_ERROR_DEADLINE:
      return "deadline passed";
    case BALLAST_ERROR_MEMORY:
      return "out of memory";
    case BALLAST_ERROR_SYSTEM:
      return "system error";
    case BALLAST_ERROR_INTERNAL:
      return "internal error";
  }
  return "unknown status";
}

const char* ballast_version(void) { return BALLAST_VERSION_TEXT; }

ballast_status ballast_device_count(int32_t* count) {
  return guard([&] {
    require_argument(count, "count");
    *count = ballast::device_count();
  });
}

const char* ballast_policy_name(int32_t index) {
  if (index < 0) return nullptr;
  const auto names = ballast::policy_names();
  const auto at = static_cast<std::size_t>(index);
  if (at < names.size()) return names[at];
  const auto* registered = ballast::registered_policy_at(at - names.size());
  return registered == nullptr ? nullptr : registered->name().c_str();
}

ballast_status ballast_policy_register(const ballast_policy* policy) {
  return guard([&] {
    require_argument(policy, "policy");
    require_struct_size(policy->struct_size, sizeof(*policy), sizeof(*policy), "policy");
    ballast::register_policy(*policy);
  });
}

const char* ballast_drill_kinds(void) { return ballast::drill_kinds_text(); }

void ballast_config_init(ballast_config* config) {
  if (config == nullptr) return;
  *config = ballast_config{};
  config->struct_size = sizeof(*config);
  config->groups = 1;
  config->policy = BALLAST_DEFAULT_POLICY;
  config->consensus_lag = 2;
  config->interval = 1000;
  config->balance_min_permille = 1000;
  config->gain_min_permille = 5;
  config->max_moves = -1;
  config->max_bytes = -1;
  config->max_moves_total = -1;
  for (std::int64_t& bytes : config->max_bytes_per_link) bytes = -1;
  config->staging_experts = 2;
  config->receives_per_batch = 8;
  config->planner_threads = 1;
  config->seed = 1;
  config->deadline_seconds = 30;
  config->memory_windows = 32;
  config->decay_shift = 1;
  config->device = -1;
  config->nccl_ctas = 2;
}

void ballast_ids_init(ballast_ids* ids) {
  if (ids == nullptr) return;
  *ids = ballast_ids{};
  ids->struct_size = sizeof(*ids);
  ids->columns = 1;
}

ballast_status ballast_create(const ballast_config* config, MPI_Comm comm,
                              ballast_context** context) {
  return guard([&] {
    ballast::require_intracommunicator(comm);
    const ballast::verdict given = ballast::verdict_of([&] {
      require_argument(config, "config");
      require_argument(context, "context");
      require_struct_size(config->struct_size, sizeof(ballast_config), sizeof(ballast_config),
                          "config");
    });
    ballast_config usable;
    ballast_config_init(&usable);
    if (given.status == BALLAST_OK) usable = *config;
    *context = new ballast_context{ballast::runtime(usable, comm, given)};
  });
}

ballast_status ballast_register_layer(ballast_context* context, int32_t layer,
                                      const ballast_tensor* tensors, int32_t tensor_count) {
  return guard([&] {
    require_argument(context, "context");
    require_argument(tensors, "tensors");
    if (tensor_count < 0)
      throw error(BALLAST_ERROR_INVALID_ARGUMENT, fmt::format("tensor_count is {}", tensor_count));
    context->runtime.register_layer(layer, {tensors, static_cast<std::size_t>(tensor_count)});
  });
}

ballast_status ballast_alloc(ballast_context* context, size_t bytes, void** memory) {
  return guard([&] {
    require_argument(context, "context");
    require_argument(memory, "memory");
    *memory = context->runtime.allocate_rows(bytes);
  });
}

ballast_status ballast_start(ballast_context* context) {
  return guard([&] {
    require_argument(context, "context");
    context->runtime.start();
  });
}

ballast_status ballast_destroy(ballast_context* context) {
  return guard([&] {
    if (context == nullptr) return;
    context->runtime.finish();
    delete context;
  });
}

ballast_status ballast_record(ballast_context* context, int32_t layer, const ballast_ids* ids) {
  return guard([&] {
    require_argument(context, "context");
    require_argument(ids, "ids");
    context->runtime.record(layer, *ids);
  });
}

ballast_status ballast_record_counts(ballast_context* context, int32_t layer,
                                     const int64_t* counts) {
  return guard([&] {
    require_argument(context, "context");
    context->runtime.record_counts(layer, counts);
  });
}

ballast_status ballast_record_time(ballast_context* context, int64_t ns) {
  return guard([&] {
    require_argument(context, "context");
    context->runtime.record_time(ns);
  });
}

ballast_status ballast_route(ballast_context* context, int32_t layer, const ballast_ids* ids,
                             int32_t mode, void* slots) {
  return guard([&] {
    require_argument(context, "context");
    require_argument(ids, "ids");
    context->runtime.route(layer, *ids, mode, slots);
  });
}

ballast_status ballast_record_route(ballast_context* context, int32_t layer, const ballast_ids* ids,
                                    int32_t mode, void* slots) {
  return guard([&] {
    require_argument(context, "context");
    require_argument(ids, "ids");
    context->runtime.record_route(layer, *ids, mode, slots);
  });
}

ballast_status ballast_step(ballast_context* context, ballast_step_result* result) {
  return guard([&] {
    require_argument(context, "context");
    // The others wait for this rank's step, whatever is wrong with its result.
    const bool fits = result == nullptr || result->struct_size == sizeof(*result);
    context->runtime.step(fits ? result : nullptr);
    if (!fits) require_struct_size(result->struct_size, sizeof(*result), sizeof(*result), "result");
  });
}

ballast_status ballast_pause(ballast_context* context, int32_t how) {
  return guard([&] {
    require_argument(context, "context");
    context->runtime.pause(how);
  });
}

ballast_status ballast_resume(ballast_context* context) {
  return guard([&] {
    require_argument(context, "context");
    context->runtime.resume();
  });
}

ballast_status ballast_ranks_set(ballast_context* context, const int32_t* rank_speed,
                                 const uint8_t* masked_ranks) {
  return guard([&] {
    require_argument(context, "context");
    context->runtime.set_ranks(rank_speed, masked_ranks);
  });
}

ballast_status ballast_lost(const ballast_context* context, const uint8_t* masked_ranks,
                            int32_t index, ballast_loss* loss) {
  return guard([&] {
    require_argument(context, "context");
    copy_out(context->runtime.loss(masked_ranks, index), loss, "loss");
  });
}

ballast_status ballast_tables(const ballast_context* context, int32_t layer,
                              ballast_layer_tables* tables) {
  return guard([&] {
    require_argument(context, "context");
    context->runtime.require_layer(layer);
    ballast_layer_tables view = {};
    context->runtime.live().describe(layer, view);
    copy_out(view, tables, "tables");
  });
}

ballast_status ballast_device_tables(const ballast_context* context, int32_t layer,
                                     ballast_layer_tables* tables) {
  return guard([&] {
    require_argument(context, "context");
    context->runtime.require_layer(layer);
    ballast_layer_tables view = {};
    context->runtime.device().describe_tables(layer, view);
    copy_out(view, tables, "tables");
  });
}

ballast_status ballast_transport(const ballast_context* context, int32_t rank, int32_t* transport) {
  return guard([&] {
    require_argument(context, "context");
    require_argument(transport, "transport");
    *transport = context->runtime.transport_from(rank);
  });
}

ballast_status ballast_shape(const ballast_context* context, int32_t* layers, int32_t* experts,
                             int32_t* ranks, int32_t* rows_per_rank) {
  return guard([&] {
    require_argument(context, "context");
    const ballast::settings& s = context->runtime.config();
    if (layers != nullptr) *layers = s.config.layers;
    if (experts != nullptr) *experts = s.config.experts;
    if (ranks != nullptr) *ranks = s.layout.ranks();
    if (rows_per_rank != nullptr) *rows_per_rank = s.config.slots_per_rank + s.config.spare_rows;
  });
}

ballast_status ballast_expert_hash(const ballast_context* context, int32_t layer, int32_t expert,
                                   uint64_t* hash) {
  return guard([&] {
    require_argument(context, "context");
    require_argument(hash, "hash");
    *hash = context->runtime.expert_hash(layer, expert);
  });
}

ballast_status ballast_epoch_report(const ballast_context* context, int32_t index,
                                    ballast_epoch* epoch) {
  return guard([&] {
    require_argument(context, "context");
    const ballast_epoch* report = context->runtime.report(index);
    if (report == nullptr)
      throw error(BALLAST_ERROR_STATE, fmt::format("there is no epoch at index {}", index));
    copy_out(*report, epoch, "epoch");
  });
}

ballast_status ballast_past_window(const ballast_context* context, int32_t index, int64_t* loads) {
  return guard([&] {
    require_argument(context, "context");
    require_argument(loads, "loads");
    const std::span<const std::int64_t> window = context->runtime.past_window(index);
    if (window.empty())
      throw error(BALLAST_ERROR_STATE, fmt::format("there is no past window at index {}", index));
    std::ranges::copy(window, loads);
  });
}

ballast_status ballast_damaged(const ballast_context* context, int32_t index,
                               ballast_damage* damage) {
  return guard([&] {
    require_argument(context, "context");
    const std::span<const ballast_damage> all = context->runtime.damaged();
    if (index < 0 || static_cast<std::size_t>(index) >= all.size())
      throw error(BALLAST_ERROR_STATE,
                  fmt::format("there is no damaged expert at index {}", index));
    copy_out(all[index], damage, "damage");
  });
}

ballast_status ballast_read_counters(const ballast_context* context, ballast_counters* counters) {
  return guard([&] {
    require_argument(context, "context");
    copy_out(context->runtime.counters(), counters, "counters");
  });
}

}  // extern "C"
