// The replay: every row has bytes (the expert whose weights lie there, or torn) and a table entry
// (the expert it serves).

#include "tests/policies/schedule_checker.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

namespace ballast::testing {
namespace {

constexpr std::int32_t torn = -7;  // being written, or never to be read again

struct broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void require(bool holds, std::int64_t batch, const std::string& what) {
  if (!holds) throw broken("batch " + std::to_string(batch) + ": " + what);
}

std::string name(const scheduled_move& move) {
  return "layer " + std::to_string(move.layer) + " expert " + std::to_string(move.expert) +
         " slot " + std::to_string(move.source_slot) + " -> " + std::to_string(move.target_slot) +
         " (" + to_string(move.way) + ")";
}

class replay {
 public:
  replay(const schedule_request& request, const schedule& made)
      : request_(request),
        made_(made),
        layers_(request.current->layers()),
        slots_(request.current->slots()),
        experts_(request.current->experts()) {
    for (int layer = 0; layer < layers_; ++layer) {
      const auto now = request.current->experts_of(layer);
      serves_.insert(serves_.end(), now.begin(), now.end());
    }
    bytes_ = serves_;
    reserved_.assign(bytes_.size(), 0);
    live_.assign(static_cast<std::size_t>(layers_) * experts_, 0);
    for (std::size_t at = 0; at < serves_.size(); ++at)
      if (serves_[at] != no_expert) ++live_[at / slots_ * experts_ + serves_[at]];
    for (const slot_ref& one : request.distrusted) distrusted_.insert(row(one.layer, one.slot));
  }

  /// With `eager`, every batch that may overlap starts before the one before it has read anything.
  void run(bool eager) {
    std::int64_t started = 0;
    const std::int64_t count = static_cast<std::int64_t>(made_.batches.size());
    for (std::int64_t k = 0; k < count; ++k) {
      if (started == k) start(started++);
      const bool overlaps = eager && k + 1 < count && !made_.batches[k + 1].after_previous_commit;
      if (overlaps) start(started++);
      transfer(k);
      if (overlaps) transfer(k + 1);  // before the commit, and again after it
      commit(k);
    }
    for (int layer = 0; layer < layers_; ++layer)
      for (int slot = 0; slot < slots_; ++slot)
        require(serves_[row(layer, slot)] == request_.target->experts_of(layer)[slot], count,
                "layer " + std::to_string(layer) + " slot " + std::to_string(slot) +
                    " does not end as the target says");
  }

 private:
  std::size_t row(int layer, int slot) const {
    return static_cast<std::size_t>(layer) * slots_ + slot;
  }
  std::span<const scheduled_move> moves(std::int64_t k) const {
    return std::span(made_.moves).subspan(made_.batches[k].first_move, made_.batches[k].move_count);
  }
  std::span<const slot_release> releases(std::int64_t k) const {
    return std::span(made_.releases)
        .subspan(made_.batches[k].first_release, made_.batches[k].release_count);
  }

  void serve(std::size_t at, std::int32_t expert) {
    const std::size_t layer = at / slots_;
    if (expert != no_expert) ++live_[layer * experts_ + expert];
    if (serves_[at] != no_expert) {
      --live_[layer * experts_ + serves_[at]];
      shrunk_.emplace_back(layer, serves_[at]);
    }
    serves_[at] = expert;
  }
  void everyone_lives(std::int64_t k, const char* when) {
    for (const auto& [layer, expert] : shrunk_)
      require(live_[layer * experts_ + expert] > 0, k,
              "layer " + std::to_string(layer) + " expert " + std::to_string(expert) +
                  " has no live replica " + when);
    shrunk_.clear();
  }

  void start(std::int64_t k) {
    for (const scheduled_move& move : moves(k)) {
      const std::size_t at = row(move.layer, move.target_slot);
      require(!reserved_[at], k,
              "writes a row that an uncommitted batch writes or releases: " + name(move));
      reserved_[at] = 1;
      if (move.way == move_way::spare)
        require(serves_[at] == no_expert, k, "the row is not empty: " + name(move));
      if (move.way == move_way::vacate) {
        require(serves_[at] != no_expert, k, "there is nothing to vacate: " + name(move));
        serve(at, no_expert);
      }
      if (move.way != move_way::staged) bytes_[at] = torn;
    }
    for (const slot_release& one : releases(k)) {
      const std::size_t at = row(one.layer, one.slot);
      require(!reserved_[at], k, "releases a row that an uncommitted batch writes or releases");
      require(serves_[at] != no_expert, k, "releases an empty row");
      reserved_[at] = 1;
    }
    everyone_lives(k, "once it has started");
  }

  void transfer(std::int64_t k) {
    for (const scheduled_move& move : moves(k)) {
      if (move.forwards >= 0) continue;
      const std::size_t at = row(move.layer, move.source_slot);
      require(bytes_[at] == move.expert && serves_[at] == move.expert, k,
              "the source does not hold the expert: " + name(move));
      require(!distrusted_.contains(at), k, "the source is distrusted: " + name(move));
    }
  }

  void commit(std::int64_t k) {
    transfer(k);
    for (const scheduled_move& move : moves(k)) {
      const std::size_t at = row(move.layer, move.target_slot);
      bytes_[at] = move.expert;
      serve(at, move.expert);
      reserved_[at] = 0;
      distrusted_.erase(at);
    }
    for (const slot_release& one : releases(k)) {
      const std::size_t at = row(one.layer, one.slot);
      bytes_[at] = torn;
      serve(at, no_expert);
      reserved_[at] = 0;
    }
    everyone_lives(k, "once it has committed");
  }

  const schedule_request& request_;
  const schedule& made_;
  int layers_, slots_, experts_;
  std::vector<std::int32_t> bytes_, serves_;  // [layers][slots]
  std::vector<std::uint8_t> reserved_;        // by a batch in flight
  std::vector<std::int32_t> live_;            // [layers][experts]
  std::vector<std::pair<std::size_t, std::int32_t>> shrunk_;
  std::set<std::size_t> distrusted_;
};

void check_move(const schedule_request& request, const schedule& made, std::int64_t k,
                std::int64_t index) {
  const batch& own = made.batches[k];
  const scheduled_move& move = made.moves[index];
  const slot_layout& layout = request.current->layout();
  require(move.source_rank == layout.rank_of(move.source_slot) &&
              move.target_rank == layout.rank_of(move.target_slot),
          k, "ranks do not fit the slots: " + name(move));
  require(move.link == request.cluster->link(move.source_rank, move.target_rank), k,
          "wrong link class: " + name(move));
  require(move.round >= 0 && move.round < own.rounds, k, "round out of range: " + name(move));
  require((move.staging_row >= 0) == (move.way == move_way::staged), k,
          "staging row without staging: " + name(move));
  if (move.forwards < 0) return;
  require(move.forwards >= own.first_move && move.forwards < own.first_move + own.move_count, k,
          "forwards a move of another batch: " + name(move));
  const scheduled_move& parent = made.moves[move.forwards];
  require(parent.layer == move.layer && parent.expert == move.expert &&
              parent.target_slot == move.source_slot,
          k, "forwards another expert: " + name(move));
  require(parent.round < move.round, k, "forwards before the arrival: " + name(move));
}

void check_limits(const schedule_request& request, const schedule& made, std::int64_t k) {
  const batch& own = made.batches[k];
  std::map<int, int> receives;
  std::map<int, std::set<int>> staging;
  std::map<std::pair<int, int>, int> sends_to, receives_from;
  std::map<std::tuple<int, int, int>, int> crossings;
  std::set<int> used_rounds;
  for (std::int32_t i = own.first_move; i < own.first_move + own.move_count; ++i) {
    check_move(request, made, k, i);
    const scheduled_move& move = made.moves[i];
    used_rounds.insert(move.round);
    require(++receives[move.target_rank] <= request.receives_per_batch, k,
            "too many moves to one rank: " + name(move));
    if (move.way == move_way::staged) {
      require(move.staging_row < request.staging_rows, k,
              "staging row out of range: " + name(move));
      require(staging[move.target_rank].insert(move.staging_row).second, k,
              "staging row taken: " + name(move));
    }
    if (move.source_rank == move.target_rank) continue;
    const auto sent = sends_to.try_emplace({move.source_rank, move.round}, move.target_rank).first;
    require(sent->second == move.target_rank, k,
            "a rank sends to two peers in a round: " + name(move));
    const auto received =
        receives_from.try_emplace({move.target_rank, move.round}, move.source_rank).first;
    require(received->second == move.source_rank, k,
            "a rank receives from two peers in a round: " + name(move));
    if (move.link == link_class::remote) {
      const int node = request.cluster->ranks[move.target_rank].node;
      require(++crossings[{move.layer, move.expert, node}] == 1, k,
              "crosses into a node twice: " + name(move));
    }
  }
  require(static_cast<int>(used_rounds.size()) == own.rounds, k, "empty rounds");
  for (const auto& [rank, rows] : staging)
    require(*rows.rbegin() + 1 == static_cast<int>(rows.size()), k, "staging rows have holes");
}

// Live sources are of the nearest class that there is, and moves that forward are nearer than any.
// Readable is what serves its expert before and after the commit of the batch in flight, is
// trusted, and is not written before this batch's commit.
void check_nearness(const schedule_request& request, const schedule& made) {
  std::vector<std::vector<std::int32_t>> held(request.current->layers());
  for (std::size_t layer = 0; layer < held.size(); ++layer) {
    const auto now = request.current->experts_of(static_cast<int>(layer));
    held[layer].assign(now.begin(), now.end());
  }
  std::set<std::pair<int, int>> distrusted, in_flight;
  for (const slot_ref& one : request.distrusted) distrusted.emplace(one.layer, one.slot);
  const slot_layout& layout = request.current->layout();
  for (std::size_t k = 0; k < made.batches.size(); ++k) {
    const batch& own = made.batches[k];
    if (own.after_previous_commit) in_flight.clear();
    const auto own_moves = std::span(made.moves).subspan(own.first_move, own.move_count);
    std::set<std::pair<int, int>> unreadable = in_flight;
    for (const scheduled_move& move : own_moves)
      if (move.way != move_way::staged) unreadable.emplace(move.layer, move.target_slot);
    std::map<std::pair<int, int>, std::vector<int>> readable;
    std::set<int> touched_layers;
    for (const scheduled_move& move : own_moves) touched_layers.insert(move.layer);
    for (int layer : touched_layers)
      for (int slot = 0; slot < layout.slots(); ++slot)
        if (held[layer][slot] != no_expert && !unreadable.contains({layer, slot}) &&
            !distrusted.contains({layer, slot}))
          readable[{layer, held[layer][slot]}].push_back(slot);
    for (const scheduled_move& move : own_moves) {
      auto nearest = link_class::remote;
      for (int slot : readable[{move.layer, move.expert}])
        nearest = std::min(nearest, request.cluster->link(layout.rank_of(slot), move.target_rank));
      if (move.forwards < 0)
        require(move.link == nearest, k, "there is a nearer source: " + name(move));
      else
        require(move.link < nearest, k,
                "forwards although a live source is as near: " + name(move));
    }
    in_flight.clear();
    for (const scheduled_move& move : own_moves) {
      held[move.layer][move.target_slot] = move.expert;
      distrusted.erase({move.layer, move.target_slot});
      in_flight.emplace(move.layer, move.target_slot);
    }
    for (const slot_release& one :
         std::span(made.releases).subspan(own.first_release, own.release_count)) {
      held[one.layer][one.slot] = no_expert;
      in_flight.emplace(one.layer, one.slot);
    }
  }
}

void check_bookkeeping(const schedule_request& request, const schedule& made) {
  std::int64_t moves = 0, releases = 0;
  for (std::size_t k = 0; k < made.batches.size(); ++k) {
    const batch& own = made.batches[k];
    require(own.first_move == moves && own.first_release == releases, k,
            "does not begin where the one before ends");
    require(own.move_count >= 0 && own.release_count >= 0 && own.move_count + own.release_count > 0,
            k, "is empty");
    moves += own.move_count;
    releases += own.release_count;
  }
  const std::int64_t count = static_cast<std::int64_t>(made.batches.size());
  require(moves == static_cast<std::int64_t>(made.moves.size()), count, "moves belong to no batch");
  require(releases == static_cast<std::int64_t>(made.releases.size()), count,
          "releases belong to no batch");
  require(made.batches.empty() || !made.batches[0].after_previous_commit, 0,
          "waits for a batch before the first");
  const int layers = request.current->layers(), slots = request.current->slots(),
            experts = request.current->experts();
  const bool helper_slots = std::min(request.staging_rows, request.receives_per_batch) == 1;
  for (const scheduled_move& move : made.moves) {
    require(move.layer >= 0 && move.layer < layers && move.source_slot >= 0 &&
                move.source_slot < slots && move.target_slot >= 0 && move.target_slot < slots &&
                move.expert >= 0 && move.expert < experts,
            count, "a move is out of range");
    require(helper_slots || request.current->experts_of(move.layer)[move.target_slot] !=
                                request.target->experts_of(move.layer)[move.target_slot],
            count, "an unchanged slot receives: " + name(move));
  }
  for (const slot_release& one : made.releases)
    require(one.layer >= 0 && one.layer < layers && one.slot >= 0 && one.slot < slots, count,
            "a release is out of range");
}

}  // namespace

std::string why_wrong(const schedule_request& request, const schedule& made) {
  try {
    check_bookkeeping(request, made);
    for (std::size_t k = 0; k < made.batches.size(); ++k)
      check_limits(request, made, static_cast<std::int64_t>(k));
    replay(request, made).run(true);
    replay(request, made).run(false);
    check_nearness(request, made);
  } catch (const broken& what) {
    return what.what();
  }
  return {};
}

}  // namespace ballast::testing
