#include "tests/mpi/live_model.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "policies/digest.hpp"
#include "tests/mpi/made_up_loads.hpp"

namespace ballast {
namespace {

void keep_line(void* user, std::int32_t, const char* text) {
  static_cast<std::vector<std::string>*>(user)->emplace_back(text);
}

// Pairs of replicas of an expert on one rank.
int count_duplicates(const placement& p) {
  int duplicates = 0;
  for (int layer = 0; layer < p.layers(); ++layer) {
    for (int rank = 0; rank < p.layout().ranks(); ++rank) {
      std::set<std::int32_t> seen;
      for (int row = 0; row < p.layout().count(rank); ++row) {
        const std::int32_t expert = p.experts_of(layer)[p.layout().first(rank) + row];
        duplicates += expert != no_expert && !seen.insert(expert).second;
      }
    }
  }
  return duplicates;
}

}  // namespace

int rank_of(MPI_Comm comm) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  return rank;
}

int size_of(MPI_Comm comm) {
  int size = 0;
  MPI_Comm_size(comm, &size);
  return size;
}

bool same_everywhere(MPI_Comm comm, std::uint64_t value) {
  std::uint64_t low[2] = {value, ~value};
  MPI_Allreduce(MPI_IN_PLACE, low, 2, MPI_UINT64_T, MPI_MIN, comm);
  return low[0] == ~low[1];
}

bool same_everywhere(MPI_Comm comm, const std::string& text) {
  digest_builder digest;
  digest.absorb(std::string_view(text));
  return same_everywhere(comm, digest.value());
}

ballast_config small_config(int ranks) {
  ballast_config config;
  ballast_config_init(&config);
  config.policy = "deepseek";  // moves much, and so exercises the protocol
  config.layers = 3;
  config.experts = 13;
  config.slots_per_rank = (config.experts + ranks - 1) / ranks + 2;
  config.interval = 8;
  return config;
}

live_model::live_model(MPI_Comm comm, const live_options& options)
    : comm_(comm),
      rank_(rank_of(comm)),
      ranks_(size_of(comm)),
      options_(options),
      rows_(options.config.slots_per_rank + options.config.spare_rows) {
  ballast_config& config = options_.config;
  const bool nodes = options.ranks_per_node > 0 && can_cross_nodes(ranks_);
  const int per_node = nodes ? options.ranks_per_node : ranks_;
  EXPECT_EQ(ballast_topology_imitate(ranks_, per_node, nullptr, &topology_), BALLAST_OK);
  config.topology = topology_;
  config.log = keep_line;
  config.log_user = &log_;
  use_backend_of_tests(config, rank_);
  memory_ = make_model_memory();
  EXPECT_EQ(ballast_create(&config, comm, &context_), BALLAST_OK) << ballast_last_error();
  weights_.emplace(config.layers, rows_);
  std::int64_t expert_bytes_max = 0;
  const placement start = current();
  for (int layer = 0; layer < config.layers; ++layer) {
    for (int row = 0; row < rows_; ++row) {
      const std::int32_t expert = start.experts_of(layer)[rank_ * rows_ + row];
      if (expert != no_expert) weights_->fill(layer, row, expert);
    }
    const std::vector<ballast_tensor> tensors = weights_->tensors(layer);
    EXPECT_EQ(ballast_register_layer(context_, layer, tensors.data(),
                                     static_cast<std::int32_t>(tensors.size())),
              BALLAST_OK)
        << ballast_last_error();
    expert_bytes_max = std::max(expert_bytes_max, made_up_weights::expert_bytes(layer));
  }
  oracle_.emplace(config, ranks_, uniform_cluster(ranks_, per_node), expert_bytes_max);
  duplicates_ = count_duplicates(start);
  EXPECT_EQ(ballast_start(context_), BALLAST_OK) << ballast_last_error();
  check_tables();
  check_rows();
}

live_model::~live_model() {
  destroy();
  ballast_topology_destroy(topology_);
}

ballast_status live_model::destroy() {
  const ballast_status status = ballast_destroy(context_);
  EXPECT_EQ(status, BALLAST_OK) << ballast_last_error();
  context_ = nullptr;
  return status;
}

ballast_step_result live_model::step() {
  const std::uint64_t before = tables_digest();
  record(steps_);
  check_routes(steps_);
  ballast_step_result result = {};
  result.struct_size = sizeof(result);
  EXPECT_EQ(ballast_step(context_, &result), BALLAST_OK) << ballast_last_error();
  EXPECT_EQ(result.step, steps_);
  ++steps_;
  const bool changed = tables_digest() != before;
  EXPECT_EQ(result.tables_changed != 0, changed) << "step " << result.step;
  // A rank plans as soon as it has the loads; every other transition is common.
  const int phase = result.phase == BALLAST_PHASE_REDUCE ? BALLAST_PHASE_PLAN : result.phase;
  EXPECT_TRUE(
      same_everywhere(comm_, std::uint64_t(phase * 4 + (result.epoch_closed != 0) * 2 + changed)))
      << "ranks are at different points after step " << result.step;
  check_tables();
  if (result.epoch_closed != 0) check_epoch();
  if (!options_.rows_may_be_damaged) check_rows();
  const ballast_counters now = counters();
  EXPECT_EQ(now.steps, steps_);
  if (now.epochs > epochs_) {
    epochs_ = now.epochs;
    oracle_->plan(current());
  }
  return result;
}

void live_model::play(int steps) {
  for (int i = 0; i < steps; ++i) step();
}

bool live_model::step_until(const std::function<bool(const ballast_step_result&)>& done, int most) {
  for (int i = 0; i < most; ++i) {
    if (done(step())) return true;
  }
  ADD_FAILURE() << "not reached within " << most << " steps";
  return false;
}

// Even layers as counts, odd ones as ids of both types, with padding and a shared column.
void live_model::record(std::int64_t step) {
  const int experts = options_.config.experts;
  std::vector<std::int64_t> loads =
      made_up_loads(options_.load_seed, step, options_.config.layers, experts);
  if (options_.loads_are_zero) std::ranges::fill(loads, 0);
  for (int layer = 0; layer < options_.config.layers; ++layer) {
    std::vector<std::int64_t> counts;
    for (int e = 0; e < experts; ++e)
      counts.push_back(part_of(loads[layer * experts + e], step + e, rank_, ranks_));
    if (layer % 2 == 0) {
      const void* lent = memory_->lend(counts.data(), counts.size() * sizeof(counts[0]));
      EXPECT_EQ(ballast_record_counts(context_, layer, static_cast<const std::int64_t*>(lent)),
                BALLAST_OK)
          << ballast_last_error();
      continue;
    }
    std::vector<std::int32_t> narrow;
    for (int e = 0; e < experts; ++e) {
      for (std::int64_t i = 0; i < counts[e]; ++i) narrow.insert(narrow.end(), {e, experts + 5});
    }
    const auto valid = static_cast<std::int64_t>(narrow.size() / 2);
    narrow.insert(narrow.end(), {0, 0, 1, 1});  // padding, not to be counted
    const std::vector<std::int64_t> wide(narrow.begin(), narrow.end());
    ballast_ids ids;
    ballast_ids_init(&ids);
    ids.type = step % 2 == 0 ? BALLAST_IDS_INT32 : BALLAST_IDS_INT64;
    ids.ids = step % 2 == 0 ? memory_->lend(narrow.data(), narrow.size() * sizeof(narrow[0]))
                            : memory_->lend(wide.data(), wide.size() * sizeof(wide[0]));
    ids.columns = 2;
    ids.shared_columns = 1;
    ids.tokens = valid + 2;
    ids.valid_tokens = valid;
    EXPECT_EQ(ballast_record(context_, layer, &ids), BALLAST_OK) << ballast_last_error();
  }
  oracle_->note_loads(std::move(loads));
}

// Every token finds its expert, whatever the mode.
void live_model::check_routes(std::int64_t step) {
  const int layer = static_cast<int>(step % options_.config.layers);
  const int mode = static_cast<int>(step % 5);
  std::vector<std::int32_t> chosen;
  for (int i = 0; i < 3 * options_.config.experts; ++i)
    chosen.push_back(i % options_.config.experts);
  std::vector<std::int32_t> slots(chosen.size(), -7);
  ballast_ids ids;
  ballast_ids_init(&ids);
  const std::size_t bytes = chosen.size() * sizeof(chosen[0]);
  ids.ids = memory_->lend(chosen.data(), bytes);
  void* lent_slots = memory_->lend(slots.data(), bytes);
  ids.tokens = ids.valid_tokens = static_cast<std::int64_t>(chosen.size());
  EXPECT_EQ(ballast_route(context_, layer, &ids, mode, lent_slots), BALLAST_OK)
      << ballast_last_error();
  memory_->read(slots.data(), lent_slots, bytes);
  const placement p = current();
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const bool exists = slots[i] >= 0 && slots[i] < p.slots();
    EXPECT_TRUE(exists && p.experts_of(layer)[slots[i]] == chosen[i])
        << "step " << step << ", mode " << mode << ": expert " << chosen[i]
        << " was routed to slot " << slots[i];
    if (!exists || mode != BALLAST_ROUTE_LOCAL) continue;
    const auto mine = p.experts_of(layer).subspan(static_cast<std::size_t>(rank_) * rows_, rows_);
    if (std::ranges::find(mine, chosen[i]) != mine.end()) {
      EXPECT_EQ(slots[i] / rows_, rank_);
    }
  }
}

placement live_model::current() const {
  placement p(options_.config.layers, options_.config.experts, slot_layout::uniform(ranks_, rows_));
  ballast_layer_tables t;
  t.struct_size = sizeof(t);
  for (int layer = 0; layer < p.layers(); ++layer) {
    EXPECT_EQ(ballast_tables(context_, layer, &t), BALLAST_OK) << ballast_last_error();
    std::copy_n(t.expert_of_slot, p.slots(), p.experts_of(layer).begin());
    for (int e = 0; e < p.experts(); ++e) {
      std::int32_t end = 0;
      for (std::int32_t k = t.replica_first[e]; k < t.replica_first[e + 1]; ++k) {
        p.shares_of(layer)[t.replica_slot[k]] = t.replica_share_end[k] - end;
        end = t.replica_share_end[k];
      }
    }
  }
  return p;
}

std::uint64_t live_model::tables_digest() const {
  digest_builder digest;
  ballast_layer_tables t;
  t.struct_size = sizeof(t);
  for (int layer = 0; layer < options_.config.layers; ++layer) {
    ballast_tables(context_, layer, &t);
    const std::int32_t replicas = t.replica_first[options_.config.experts];
    digest.absorb(std::span(t.expert_of_slot, static_cast<std::size_t>(ranks_) * rows_));
    digest.absorb(
        std::span(t.replica_first, static_cast<std::size_t>(options_.config.experts) + 1));
    digest.absorb(std::span(t.replica_slot, static_cast<std::size_t>(replicas)));
    digest.absorb(std::span(t.replica_share_end, static_cast<std::size_t>(replicas)));
    digest.absorb(t.version);
  }
  return digest.value();
}

void live_model::check_tables() {
  EXPECT_TRUE(same_everywhere(comm_, tables_digest()))
      << "the tables differ between ranks after step " << steps_ - 1;
  const placement p = current();
  EXPECT_EQ(why_illegal(p, true), "") << "after step " << steps_ - 1;
  for (int layer = 0; layer < p.layers(); ++layer) {
    ballast_layer_tables t;
    t.struct_size = sizeof(t);
    ballast_tables(context_, layer, &t);
    const replica_lists lists = list_replicas(p.experts_of(layer), p.experts());
    EXPECT_TRUE(std::ranges::equal(lists.first_replica,
                                   std::span(t.replica_first, lists.first_replica.size())));
    EXPECT_TRUE(std::ranges::equal(lists.slot_of_replica,
                                   std::span(t.replica_slot, lists.slot_of_replica.size())));
  }
  const int duplicates = count_duplicates(p);
  if (options_.config.compatible == 0) {
    EXPECT_LE(duplicates, duplicates_) << "an expert came twice to a rank";
  }
  duplicates_ = std::min(duplicates, duplicates_);
}

void live_model::check_rows() {
  const placement p = current();
  for (int layer = 0; layer < p.layers(); ++layer) {
    for (int row = 0; row < rows_; ++row) {
      const std::int32_t expert = p.experts_of(layer)[rank_ * rows_ + row];
      if (expert == no_expert) continue;
      EXPECT_EQ(weights_->wrong_bytes(layer, row, expert), 0)
          << "layer " << layer << ", slot " << rank_ * rows_ + row << ", expert " << expert
          << " after step " << steps_ - 1;
    }
  }
  EXPECT_EQ(weights_->touched_gaps(), 0)
      << "bytes between rows were written after step " << steps_ - 1;
}

void live_model::check_epoch() {
  ballast_epoch e = {};
  e.struct_size = sizeof(e);
  EXPECT_EQ(ballast_epoch_report(context_, 0, &e), BALLAST_OK) << ballast_last_error();
  closed_.push_back(e);
  const std::string what = "epoch " + std::to_string(e.epoch) + " (" + e.reason + ")";
  EXPECT_TRUE(same_everywhere(
      comm_, std::uint64_t(e.outcome) << 32 | std::uint64_t(e.moves) << 8 | e.retries))
      << what;
  EXPECT_TRUE(same_everywhere(comm_, e.digest)) << what;
  std::int64_t received = e.bytes_received;
  MPI_Allreduce(MPI_IN_PLACE, &received, 1, MPI_INT64_T, MPI_SUM, comm_);
  if (e.digest != 0) oracle_->remember();  // agreed on, whatever came of it
  if (e.outcome == BALLAST_OUTCOME_DROPPED) return;

  const planner_job& job = oracle_->expected();
  EXPECT_EQ(job.failure, "") << what;
  EXPECT_EQ(e.window_tokens, oracle_->window_tokens()) << what;
  if (e.retries == 0) {
    EXPECT_EQ(e.digest, job.digest) << what;
  }
  EXPECT_EQ(e.outcome == BALLAST_OUTCOME_UNCHANGED, !job.not_worth.empty()) << what;
  if (e.outcome != BALLAST_OUTCOME_COMMITTED) {
    EXPECT_EQ(e.moves, 0) << what;
    EXPECT_EQ(received, 0) << what;
    return;
  }
  const placement p = current();
  for (int layer = 0; layer < p.layers(); ++layer) {
    EXPECT_TRUE(std::ranges::equal(p.experts_of(layer), job.made.target.experts_of(layer)))
        << what << ", layer " << layer;
    EXPECT_TRUE(std::ranges::equal(p.shares_of(layer), job.made.target.shares_of(layer)))
        << what << ", layer " << layer;
  }
  EXPECT_EQ(e.layers_changed, static_cast<std::int32_t>(job.made.changed.size())) << what;
  if (e.retries > 0) return;
  EXPECT_EQ(e.moves, static_cast<std::int64_t>(job.steps.moves.size())) << what;
  EXPECT_EQ(e.batches, static_cast<std::int32_t>(job.steps.batches.size())) << what;
  const std::vector<std::int64_t> bytes = oracle_->bytes_by_link();
  EXPECT_TRUE(std::ranges::equal(bytes, e.bytes))
      << what << ": bytes by link are not the schedule's";
  std::int64_t all = 0;
  for (const std::int64_t b : bytes) all += b;
  EXPECT_EQ(received, all) << what;
}

bool live_model::logged(const std::string& part) const {
  return std::ranges::any_of(
      log_, [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

ballast_counters live_model::counters() const {
  ballast_counters counters = {};
  counters.struct_size = sizeof(counters);
  EXPECT_EQ(ballast_read_counters(context_, &counters), BALLAST_OK) << ballast_last_error();
  return counters;
}

}  // namespace ballast
