#include "jobs/replay/replay.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "jobs/collectives.hpp"
#include "jobs/output.hpp"
#include "jobs/plan/slots.hpp"
#include "jobs/replay/backend.hpp"
#include "jobs/replay/report.hpp"
#include "jobs/replay/setup.hpp"
#include "jobs/replay/state.hpp"
#include "jobs/replay/traffic.hpp"

namespace ballast {
namespace {

using steady_clock = std::chrono::steady_clock;

double seconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double>(steady_clock::now() - start).count();
}

constexpr std::int64_t ids_max = std::int64_t{1} << 28;  // of one layer and step on one rank: 1 GiB

constexpr double expert_seconds_max = 1000;  // that ballast_record_time takes

// 0 go on, 1 finish the epoch and stop (USR1), 2 stop now (TERM). Set by the handler only.
volatile std::sig_atomic_t stop_requested = 0;

void on_signal(int signal) {
  const int request = signal == SIGTERM ? 2 : 1;
  if (request > stop_requested) stop_requested = request;
}

class player {
 public:
  player(const mpi_session& mpi, const replay_options& options);
  ~player();
  exit_code run();

 private:
  void announce() const;
  void play_layer(int layer, std::int64_t step);
  void compare_outputs(int layer, std::int64_t step);
  bool prices_known() const { return options_.token_ns > 0 || options_.ffn; }
  void print_row(const epoch_row& row) const;
  int agree_to_stop(std::int64_t step);
  void after_step(std::int64_t step, const ballast_step_result& result);
  void close_window();
  void close_epoch();
  void show_progress(std::int64_t step, int phase);
  void verify_slots();
  void summarise(std::int64_t steps);
  exit_code finish(std::int64_t steps, int stop);

  const mpi_session& mpi_;
  collectives all_ranks_;
  const replay_options& options_;
  replay_shape shape_;
  std::unique_ptr<load_source> source_;
  std::string backend_choice_;               // why --backend auto chose as it did
  std::unique_ptr<replay_backend> backend_;  // before the context, which works there until its end
  weight_rows* weights_ = nullptr;           // the backend's
  context_handle context_;
  std::string transport_;

  std::vector<std::int64_t> counts_;  // [layers][experts] of the step
  std::vector<std::int32_t> ids_;     // of this rank, one layer
  std::vector<std::int32_t>
      initial_slot_;  // --ffn: [layers][experts] a slot of the initial placement
  std::vector<std::int32_t> initial_slots_;  // --ffn: of ids_
  std::vector<std::int64_t>
      routed_;  // [layers][ranks] tokens this rank sent since the last window or commit
  std::vector<double> step_seconds_;
  struct stop_vote {
    MPI_Request request = MPI_REQUEST_NULL;
    int mine = 0;
    int reduced = 0;
  };
  std::array<stop_vote, 4> stop_votes_;
  MPI_Comm stop_comm_ = MPI_COMM_NULL;
  std::vector<epoch_row> rows_;
  bool resumed_ = false;
  bool row_open_ = false;  // the last row waits for its next window
  replay_summary summary_;
  steady_clock::time_point last_progress_;
};

player::player(const mpi_session& mpi, const replay_options& options)
    : mpi_(mpi), all_ranks_(mpi.comm(), options.deadline_seconds), options_(options) {
  together(mpi, [&] {
    if (mpi.rank() != 0) return;
    require_writable(options.json);
    require_writable(options.state);
  });
  resumed_ = state_exists(mpi, options.state);
  std::optional<placement_file> initial;
  together(mpi, [&] { source_ = open_loads(options, mpi.size(), resumed_, shape_, initial); });
  backend_ = make_replay_backend(mpi, options, shape_, backend_choice_);
  context_ = create_context(mpi, options, shape_, *backend_, resumed_, initial);
  together(mpi, [&] {
    weights_ = &backend_->allocate(context_.get());
    counts_.resize(static_cast<std::size_t>(source_->layers()) * source_->experts());
    routed_.resize(static_cast<std::size_t>(shape_.layers) * mpi.size());
    step_seconds_.reserve(static_cast<std::size_t>(std::min<std::int64_t>(shape_.steps, 1 << 20)));
  });
  load_and_start(mpi, context_.get(), shape_, *weights_);
  transport_ = transports(mpi, context_.get());
  MPI_Comm_dup(mpi.comm(), &stop_comm_);
  if (!options.ffn) return;
  backend_->keep_initial();
  ballast_layer_tables tables;
  tables.struct_size = sizeof(tables);
  for (int layer = 0; layer < shape_.layers; ++layer) {
    check(ballast_tables(context_.get(), layer, &tables));
    for (int e = 0; e < shape_.experts; ++e)
      initial_slot_.push_back(tables.replica_slot[tables.replica_first[e]]);
  }
}

void player::announce() const {
  if (mpi_.rank() != 0 || options_.quiet) return;
  fmt::print("# ballast {} replay: {} ranks, {}{}, weights by {}, policy {}\n", ballast_version(),
             mpi_.size(), backend_->describe(),
             backend_choice_.empty() ? "" : fmt::format(" ({})", backend_choice_), transport_,
             options_.policy);
  fmt::print("# {}\n", source_->describe());
  fmt::print(
      "# {} layers x {} experts, {} slots{} per rank, {} bytes per expert in {} tensors, every {} "
      "steps, verify {}\n\n",
      shape_.layers, shape_.experts, slots_text(shape_.slots_per_layer, shape_.slots_per_rank),
      options_.spare_rows > 0 ? fmt::format(" + {} spare rows", options_.spare_rows) : "",
      shape_.expert_bytes, shape_.tensor_bytes.size(), options_.interval, options_.verify);
  if (resumed_) {
    ballast_counters counters;
    counters.struct_size = sizeof(counters);
    check(ballast_read_counters(context_.get(), &counters));
    fmt::print("# resumed from {}, with the loads of {} windows\n\n", options_.state,
               counters.past_windows);
  }
  print_epoch_head(prices_known());
}

player::~player() {
  if (stop_comm_ != MPI_COMM_NULL) MPI_Comm_free(&stop_comm_);
}

exit_code player::run() {
  announce();
  int stop = 0;
  std::int64_t step = 0;
  for (; step < shape_.steps; ++step) {
    source_->counts(step, counts_);
    for (int layer = 0; layer < shape_.layers; ++layer) play_layer(layer, step);
    if (options_.ffn) {
      const double seconds = std::min(backend_->take_expert_seconds(), expert_seconds_max);
      check(ballast_record_time(context_.get(), static_cast<std::int64_t>(seconds * 1e9)));
    }
    ballast_step_result result;
    result.struct_size = sizeof(result);
    const auto start = steady_clock::now();
    check(ballast_step(context_.get(), &result));
    step_seconds_.push_back(seconds_since(start));
    after_step(step, result);
    show_progress(step, result.phase);
    const int request = agree_to_stop(step);
    if (request > stop)
      check(ballast_pause(context_.get(), request == 2 ? BALLAST_DROP : BALLAST_FINISH));
    stop = std::max(stop, request);
    if (stop == 2 || (stop == 1 && result.phase == BALLAST_PHASE_IDLE)) {
      ++step;
      break;
    }
  }
  return finish(step, stop);
}

void player::play_layer(int layer, std::int64_t step) {
  const std::span<const std::int64_t> counts(
      counts_.data() + static_cast<std::size_t>(layer) * shape_.experts, shape_.experts);
  std::int64_t room = ids_max * mpi_.size();
  for (const std::int64_t count : counts) room -= std::min(count, room + 1);
  if (room < 0) {  // the same on all ranks
    throw job_error(
        exit_code::bad_input,
        fmt::format("step {}, layer {}: more than {} ids per rank", step, layer, ids_max));
  }
  make_ids(counts, layer, step, mpi_.rank(), mpi_.size(), ids_);
  backend_->play(context_.get(), layer, ids_);
  if (options_.ffn) compare_outputs(layer, step);
}

// The same tokens through the live tables and rows, and through the initial ones.
void player::compare_outputs(int layer, std::int64_t step) {
  const std::size_t wanted = static_cast<std::size_t>(options_.ffn_tokens) * shape_.top_k;
  const std::size_t used = std::min(wanted, ids_.size()) / shape_.top_k * shape_.top_k;
  initial_slots_.resize(used);
  for (std::size_t i = 0; i < used; ++i)
    initial_slots_[i] = initial_slot_[static_cast<std::size_t>(layer) * shape_.experts + ids_[i]];
  backend_->compare_outputs(layer, step, initial_slots_);
}

// What all ranks asked for a few steps ago. Later than Ballast's own votes, so that those are the
// first to meet a rank that hangs.
int player::agree_to_stop(std::int64_t step) {
  stop_vote& due = stop_votes_[step % stop_votes_.size()];
  all_ranks_.wait(due.request);
  const int request = due.reduced;
  due.mine = stop_requested;
  MPI_Iallreduce(&due.mine, &due.reduced, 1, MPI_INT, MPI_MAX, stop_comm_, &due.request);
  return request;
}

void player::after_step(std::int64_t step, const ballast_step_result& result) {
  if ((step + 1) % options_.interval == 0) close_window();
  if (result.epoch_closed != 0) close_epoch();
}

// The balance of what was really routed since the last window or commit.
void player::close_window() {
  backend_->take_routed(routed_);
  all_ranks_.all_reduce(routed_.data(), routed_.size(), MPI_INT64_T, MPI_SUM);
  const std::vector<std::int64_t> all = routed_;
  std::ranges::fill(routed_, 0);
  if (mpi_.rank() != 0) return;
  double mean = 0;
  double most = 0;
  for (int layer = 0; layer < shape_.layers; ++layer) {
    const std::span<const std::int64_t> loads(
        all.data() + static_cast<std::size_t>(layer) * mpi_.size(), mpi_.size());
    for (const std::int64_t load : loads) mean += static_cast<double>(load) / mpi_.size();
    most += static_cast<double>(std::ranges::max(loads));
  }
  if (most == 0) return;
  if (!summary_.balance_first) summary_.balance_first = mean / most;
  summary_.balance_last = mean / most;
  if (!row_open_) return;
  rows_.back().balance_next = mean / most;
  row_open_ = false;
  print_row(rows_.back());
}

void player::print_row(const epoch_row& row) const {
  if (!options_.quiet) print_epoch(row, prices_known());
}

void player::close_epoch() {
  epoch_row row;
  row.epoch.struct_size = sizeof(row.epoch);
  check(ballast_epoch_report(context_.get(), 0, &row.epoch));
  double worst[] = {row.epoch.plan_seconds, row.epoch.exchange_seconds, row.epoch.stall_seconds_max,
                    row.epoch.reduce_seconds};
  all_ranks_.all_reduce(worst, 4, MPI_DOUBLE, MPI_MAX);
  row.epoch.plan_seconds = worst[0];
  row.epoch.exchange_seconds = worst[1];
  row.epoch.stall_seconds_max = worst[2];
  row.epoch.reduce_seconds = worst[3];
  if (row_open_ && mpi_.rank() == 0) print_row(rows_.back());
  backend_->take_routed(routed_);
  std::ranges::fill(routed_, 0);  // the next window begins with the placement that this epoch left
  // What has been committed survives whatever ends this job.
  all_ranks_.together([&] {
    if (mpi_.rank() == 0 && !options_.state.empty() && row.epoch.step_committed >= 0)
      save_state(context_.get(), shape_, options_.state);
  });
  rows_.push_back(row);
  row_open_ = mpi_.rank() == 0;
}

void player::show_progress(std::int64_t step, int phase) {
  if (mpi_.rank() != 0 || options_.quiet || seconds_since(last_progress_) < 1) return;
  static constexpr const char* names[] = {"idle", "reduce", "plan", "exchange", "drain"};
  last_progress_ = steady_clock::now();
  const bool terminal = isatty(STDERR_FILENO) != 0;
  fmt::print(stderr, "{}step {}/{}, {} epochs, {}{}", terminal ? "\r" : "", step + 1, shape_.steps,
             rows_.size(), names[phase], terminal ? "    \r" : "\n");
}

// Every row that serves, on every rank, byte by byte.
void player::verify_slots() {
  std::int64_t sums[2] = {0, 0};
  ballast_layer_tables tables;
  tables.struct_size = sizeof(tables);
  for (int layer = 0; layer < shape_.layers; ++layer) {
    check(ballast_tables(context_.get(), layer, &tables));
    for (int row = 0; row < shape_.rows_per_rank; ++row) {
      const std::int32_t expert = tables.expert_of_slot[mpi_.rank() * shape_.rows_per_rank + row];
      if (expert < 0) continue;
      ++sums[0];
      sums[1] += weights_->wrong_bytes(layer, row, expert);
    }
  }
  all_ranks_.all_reduce(sums, 2, MPI_INT64_T, MPI_SUM);
  summary_.verified_slots = sums[0];
  summary_.wrong_bytes = sums[1];
}

void player::summarise(std::int64_t steps) {
  summary_.steps = steps;
  summary_.epochs = static_cast<std::int64_t>(rows_.size());
  for (const epoch_row& row : rows_) {
    summary_.epochs_committed += row.epoch.outcome == BALLAST_OUTCOME_COMMITTED;
    summary_.moves += row.epoch.moves;
    for (int c = 0; c < BALLAST_LINK_CLASSES; ++c) summary_.bytes[c] += row.epoch.bytes[c];
  }
  std::ranges::sort(step_seconds_);
  double quantiles[3] = {};
  if (!step_seconds_.empty()) {
    quantiles[0] = step_seconds_[step_seconds_.size() / 2];
    quantiles[1] = step_seconds_[step_seconds_.size() * 99 / 100];
    quantiles[2] = step_seconds_.back();
  }
  all_ranks_.all_reduce(quantiles, 3, MPI_DOUBLE, MPI_MAX);
  summary_.step_p50 = quantiles[0];
  summary_.step_p99 = quantiles[1];
  summary_.step_max = quantiles[2];
  const output_comparison found = backend_->outputs();
  std::int64_t outputs[2] = {found.compared, found.different};
  all_ranks_.all_reduce(outputs, 2, MPI_INT64_T, MPI_SUM);
  summary_.outputs_compared = outputs[0];
  if (options_.ffn) summary_.outputs_identical = outputs[1] == 0;
}

exit_code player::finish(std::int64_t steps, int stop) {
  for (stop_vote& vote : stop_votes_) all_ranks_.wait(vote.request);
  all_ranks_.together([&] {
    if (mpi_.rank() == 0 && !options_.state.empty())
      save_state(context_.get(), shape_, options_.state);
  });
  if (stop == 2) {
    if (mpi_.rank() == 0)
      fmt::print("terminated after {} steps{}\n", steps,
                 options_.state.empty() ? "" : ", state saved");
    return exit_code::terminated;
  }
  verify_slots();
  summarise(steps);
  if (mpi_.rank() == 0 && !options_.quiet) {
    if (row_open_) print_row(rows_.back());
    print_summary(summary_);
  }
  all_ranks_.together([&] {
    if (mpi_.rank() != 0) return;
    nlohmann::ordered_json document = json_head("replay");
    document["ranks"] = mpi_.size();
    document["backend"] = backend_->name();
    document["memory"] = backend_->describe();
    document["transport"] = transport_;
    document["source"] = source_->describe();
    document["slots_per_rank"] = shape_.slots_per_rank;
    if (!shape_.slots_per_layer.empty()) document["slots_per_layer"] = shape_.slots_per_layer;
    document["epochs"] = to_json(rows_);
    document["summary"] = to_json(summary_);
    write_json(document, options_.json);
  });
  if (summary_.wrong_bytes > 0 || summary_.outputs_identical == false) {
    if (mpi_.rank() == 0)
      fmt::print(stderr,
                 "ballast: replay failed: wrong bytes or changed outputs, see the summary\n");
    return exit_code::internal;
  }
  if (stop == 1) {
    if (mpi_.rank() == 0)
      fmt::print("stopped after {} steps as asked{}\n", steps,
                 options_.state.empty() ? "" : ", state saved");
    return exit_code::temporary;
  }
  if (mpi_.rank() == 0 && !options_.quiet) fmt::print("replay ok\n");
  return exit_code::ok;
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

exit_code replay(const mpi_session& mpi, const replay_options& options) {
  return player(mpi, options).run();
}

}  // namespace ballast
