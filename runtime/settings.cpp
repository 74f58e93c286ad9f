#include "runtime/settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "policies/digest.hpp"
#include "policies/plan.hpp"
#include "policies/schedule.hpp"
#include "runtime/error.hpp"
#include "runtime/given_placement.hpp"
#include "runtime/guard.hpp"
#include "runtime/past_windows.hpp"
#include "runtime/plugins.hpp"

namespace ballast {
namespace {

constexpr std::int64_t device_bytes_per_step = std::int64_t{12} << 20;
constexpr std::int32_t paced_hash_ctas = 2;    // 164 GB/s
constexpr std::int32_t unpaced_hash_ctas = 8;  // 600 GB/s
constexpr const char* drill_names[] = {"none", "digest", "checksum", "source", "error", "stall"};

template <typename Value>
[[noreturn]] void reject(const char* field, const Value& value, const char* expected) {
  throw error(BALLAST_ERROR_INVALID_ARGUMENT,
              fmt::format("{} is {}, expected {}", field, value, expected));
}

void check_ranges(const ballast_config& c, int ranks) {
  require_in_range("ranks", ranks, 1, 16384);
  require_in_range("layers", c.layers, 1, 4096);
  require_in_range("experts", c.experts, 1, 65536);
  require_in_range("slots_per_rank", c.slots_per_rank, 1, 1024);
  require_in_range("spare_rows", c.spare_rows, 0, 1024);
  require_in_range("groups", c.groups, 1, c.experts);
  require_in_range("mode", c.mode, BALLAST_MODE_DYNAMIC, BALLAST_MODE_STATIC);
  require_in_range("way", c.way, BALLAST_WAY_AUTO, BALLAST_WAY_STAGED);
  require_in_range("verify", c.verify, BALLAST_VERIFY_FULL, BALLAST_VERIFY_OFF);
  require_in_range("consensus_lag", c.consensus_lag, 1, 16);
  constexpr std::int64_t many = std::int64_t{1} << 62;
  require_in_range("interval", c.interval, 1, many);
  require_in_range("window", c.window, 0, many);
  if (c.window / c.interval > 4096) reject("window", c.window, "at most 4096 intervals");
  require_in_range("balance_min_permille", c.balance_min_permille, 0, 1000);
  require_in_range("gain_min_permille", c.gain_min_permille, 0, 1000);
  require_in_range("max_moves", c.max_moves, -1, many);
  require_in_range("max_bytes", c.max_bytes, -1, many);
  require_in_range("max_moves_total", c.max_moves_total, -1, many);
  require_in_range("moves_saved", c.moves_saved, 0, 1000);
  if (c.moves_saved > 0) require_in_range("max_moves (to be saved)", c.max_moves, 0, 1'000'000'000);
  for (const std::int64_t bytes : c.max_bytes_per_link) {
    require_in_range("max_bytes_per_link", bytes, -1, many);
  }
  require_in_range("staging_experts", c.staging_experts, 1, 1024);
  require_in_range("receives_per_batch", c.receives_per_batch, 1, 4096);
  require_in_range("bytes_per_step", c.bytes_per_step, -1, many);
  require_in_range("planner_threads", c.planner_threads, 1, 256);
  require_in_range("objective", c.objective, BALLAST_OBJECTIVE_TOKENS,
                   BALLAST_OBJECTIVE_ACTIVATIONS);
  require_in_range("prediction", c.prediction, BALLAST_PREDICTION_AUTO, BALLAST_PREDICTION_ROBUST);
  require_in_range("memory_windows", c.memory_windows, 1, 256);
  require_in_range("decay_shift", c.decay_shift, 1, 16);
  require_in_range("token_ns", c.token_ns, 0, 1'000'000'000);
  require_in_range("horizon", c.horizon, 0, many);
  require_in_range("backend", c.backend, BALLAST_BACKEND_HOST, BALLAST_BACKEND_CUDA);
  require_in_range("transport", c.transport, BALLAST_TRANSPORT_AUTO, BALLAST_TRANSPORT_MPI);
  const bool by_mpi = c.transport == BALLAST_TRANSPORT_MPI;
  if (c.transport != BALLAST_TRANSPORT_AUTO && by_mpi != (c.backend == BALLAST_BACKEND_HOST))
    reject("transport", c.transport, "auto, or one of the backend's: host mpi, cuda copy or nccl");
  require_in_range("device", c.device, -1, 1023);
  require_in_range("nccl_ctas", c.nccl_ctas, 1, 64);
  require_in_range("hash_ctas", c.hash_ctas, 0, 1024);
  if (!(c.deadline_seconds >= 0.1 && c.deadline_seconds <= 1e6)) {
    reject("deadline_seconds", c.deadline_seconds, "0.1 to 1000000");
  }
  const std::int64_t slots = static_cast<std::int64_t>(c.slots_per_rank) * ranks;
  if (slots < c.experts) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("slots_per_rank {} on {} ranks are {} slots, fewer than {} experts",
                            c.slots_per_rank, ranks, slots, c.experts));
  }
}

drill read_drill(const char* text) {
  drill d;
  if (text == nullptr) return d;
  const std::string_view all(text);
  const std::size_t first = all.find(':');
  const std::size_t second = first == all.npos ? all.npos : all.find(':', first + 1);
  const auto kind = std::ranges::find(drill_names, all.substr(0, first));
  const auto number = [&](std::string_view digits, auto& value) {
    const auto [end, code] = std::from_chars(digits.begin(), digits.end(), value);
    return code == std::errc() && end == digits.end() && value >= 0;
  };
  if (kind == std::end(drill_names) || kind == std::begin(drill_names) || second == all.npos ||
      !number(all.substr(first + 1, second - first - 1), d.rank) ||
      !number(all.substr(second + 1), d.epoch)) {
    reject("drill", text,
           fmt::format("KIND:RANK:EPOCH with KIND one of {}", drill_kinds_text()).c_str());
  }
  d.kind = static_cast<drill_kind>(kind - std::begin(drill_names));
  return d;
}

std::int64_t digest_of(const placement& p) {
  digest_builder digest;
  for (int layer = 0; layer < p.layers(); ++layer) {
    digest.absorb(p.experts_of(layer));
    digest.absorb(p.shares_of(layer));
  }
  return static_cast<std::int64_t>(digest.value());
}

template <typename Value>
std::int64_t digest_of(const std::vector<Value>& values) {
  digest_builder digest;
  digest.absorb(std::span<const Value>(values));
  return static_cast<std::int64_t>(digest.value());
}

std::int64_t digest_of(const std::string& text) {
  digest_builder digest;
  digest.absorb(std::string_view(text));
  return static_cast<std::int64_t>(digest.value());
}

void require_nothing_gone(const settings& s) {
  if (s.marks.gone.empty()) return;
  for (int layer = 0; layer < s.initial.layers(); ++layer) {
    for (int slot = 0; slot < s.initial.slots(); ++slot) {
      const std::int32_t expert = s.initial.experts_of(layer)[slot];
      const int rank = s.layout.rank_of(slot);
      if (expert == no_expert || s.marks.gone[rank] == 0) continue;
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  fmt::format("placement: layer {}: expert {} is on rank {}, which is gone", layer,
                              expert, rank));
    }
  }
}

}  // namespace

const char* drill_kinds_text() { return "digest, checksum, source, error, stall"; }

settings settings::read(const ballast_config& config, int ranks) {
  settings s;
  s.config = config;
  check_ranges(s.config, ranks);
  if (s.config.window == 0) s.config.window = s.config.interval;
  if (s.config.bytes_per_step == 0 && config.backend == BALLAST_BACKEND_CUDA)
    s.config.bytes_per_step = device_bytes_per_step;
  if (s.config.bytes_per_step < 0) s.config.bytes_per_step = 0;
  if (s.config.hash_ctas == 0)
    s.config.hash_ctas = s.config.bytes_per_step > 0 ? paced_hash_ctas : unpaced_hash_ctas;
  s.policy = config.policy == nullptr ? BALLAST_DEFAULT_POLICY : config.policy;
  s.plugin = find_registered_policy(s.policy);
  if (s.plugin == nullptr &&
      std::ranges::none_of(policy_names(), [&](const char* name) { return s.policy == name; })) {
    reject("policy", s.policy, fmt::format("one of {}", fmt::join(policy_names(), ", ")).c_str());
  }
  s.drill = read_drill(config.drill);
  if (s.drill.kind != drill_kind::none) require_in_range("drill rank", s.drill.rank, 0, ranks - 1);
  s.layout = slot_layout::uniform(ranks, config.slots_per_rank + config.spare_rows);
  s.usable_slots.assign(ranks, config.slots_per_rank);
  s.slots_per_layer = read_slots_per_layer(config.slots_per_layer, config.layers,
                                           config.slots_per_rank, config.experts, ranks);
  s.marks = read_rank_marks(config.rank_speed, config.masked_ranks, ranks);
  std::vector<std::int32_t> serving = s.usable_slots;
  for (std::size_t rank = 0; rank < s.marks.masked.size(); ++rank) {
    if (s.marks.masked[rank] != BALLAST_RANK_SERVES) serving[rank] = 0;
  }
  s.initial =
      read_placement({config.layers, config.experts, config.slots_per_rank, config.placement,
                      config.shares, config.compatible != 0, s.slots_per_layer},
                     s.layout, serving);
  require_nothing_gone(s);
  s.past_windows = read_past_windows(
      {config.layers, config.experts, config.past_window_count, config.past_windows});
  return s;
}

std::vector<std::int32_t> settings::rows_per_layer() const {
  std::vector<std::int32_t> rows = slots_per_layer;
  if (rows.empty()) rows.assign(static_cast<std::size_t>(config.layers), config.slots_per_rank);
  for (std::int32_t& count : rows) count += config.spare_rows;
  return rows;
}

std::vector<agreed_field> settings::agreed_fields() const {
  const ballast_config& c = config;
  std::vector<agreed_field> fields = {
      {"version",
       BALLAST_VERSION_MAJOR * 1000000 + BALLAST_VERSION_MINOR * 1000 + BALLAST_VERSION_PATCH},
      {"layers", c.layers},
      {"experts", c.experts},
      {"slots_per_rank", c.slots_per_rank},
      {"spare_rows", c.spare_rows},
      {"groups", c.groups},
      {"objective", c.objective},
      {"compatible", c.compatible != 0},
      {"mode", c.mode},
      {"way", c.way},
      {"verify", c.verify},
      {"consensus_lag", c.consensus_lag},
      {"interval", c.interval},
      {"window", c.window},
      {"balance_min_permille", c.balance_min_permille},
      {"gain_min_permille", c.gain_min_permille},
      {"max_moves", c.max_moves},
      {"moves_saved", c.moves_saved},
      {"max_bytes", c.max_bytes},
      {"max_moves_total", c.max_moves_total},
      {"max_bytes_per_link[local]", c.max_bytes_per_link[0]},
      {"max_bytes_per_link[island]", c.max_bytes_per_link[1]},
      {"max_bytes_per_link[node]", c.max_bytes_per_link[2]},
      {"max_bytes_per_link[remote]", c.max_bytes_per_link[3]},
      {"equal_shares", c.equal_shares},
      {"staging_experts", c.staging_experts},
      {"receives_per_batch", c.receives_per_batch},
      {"bytes_per_step", c.bytes_per_step},
      {"backend", c.backend},
      {"transport", c.transport},
      {"nccl_ctas", c.nccl_ctas},
      {"prediction", c.prediction},
      {"memory_windows", c.memory_windows},
      {"decay_shift", c.decay_shift},
      {"token_ns", c.token_ns},
      {"horizon", c.horizon},
      {"seed", static_cast<std::int64_t>(c.seed)},
      {"deadline_seconds (in ms)", std::llround(c.deadline_seconds * 1000)},
      {"policy (digest)", digest_of(policy)},
      {"past_window_count", c.past_window_count},
      {"past_windows (digest)", digest_of(past_windows)},
      {"slots_per_layer (digest)", digest_of(slots_per_layer)},
  };
  for (const agreed_field& field : marks.agreed_fields()) fields.push_back(field);
  fields.push_back({"placement (digest)", digest_of(initial)});  // last, as it follows from others
  return fields;
}

}  // namespace ballast
