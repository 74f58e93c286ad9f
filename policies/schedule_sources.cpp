// Closes a batch: where each admitted move reads, in which round, and in what order they are
// listed.
//
// An expert's targets are served one after another, each from the nearest class that has the
// weights by then: a live replica, or a target served before (`forwards`). So an expert enters a
// node, an island or a rank only once, and inside it spreads as a tree. Experts with a single
// replica choose first, for they have no choice.

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "policies/schedule_rounds.hpp"
#include "policies/schedule_state.hpp"

namespace ballast::scheduling {
namespace {

struct sourced_move {
  admitted_move move;
  std::int32_t source_slot = 0;
  std::int32_t forwards = -1;  // index into the sourced moves
  std::int32_t fan_out =
      0;  // moves that forward this one, and how many it is away from a live replica
};

class source_chooser {
 public:
  explicit source_chooser(const transition& state) : state_(state), sends_(state.ranks(), 0) {}

  std::vector<sourced_move> choose() {
    std::vector<admitted_move> moves = state_.admitted();
    std::sort(moves.begin(), moves.end(), [](const admitted_move& a, const admitted_move& b) {
      return std::tie(a.layer, a.expert, a.slot) < std::tie(b.layer, b.expert, b.slot);
    });
    for (const bool single : {true, false}) {
      for (std::size_t first = 0, last; first < moves.size(); first = last) {
        last = first + 1;
        while (last < moves.size() && moves[last].layer == moves[first].layer &&
               moves[last].expert == moves[first].expert)
          ++last;
        read_replicas(moves[first]);
        if ((replicas_.size() == 1) == single) serve({moves.data() + first, last - first});
      }
    }
    return std::move(chosen_);
  }

 private:
  void read_replicas(const admitted_move& move) {
    replicas_.clear();
    for (std::int32_t s = state_.first_holder(move.layer, move.expert); s >= 0;
         s = state_.next_holder(move.layer, s))
      if (state_.is_readable(move.layer, s)) replicas_.push_back(s);
  }

  // The targets of one expert. Keys: class, live before forwarded, then whom it delays least, then
  // the lowest slot.
  void serve(std::span<const admitted_move> targets) {
    const std::size_t first = chosen_.size();
    for (const admitted_move& target : targets) {
      using key = std::tuple<link_class, bool, std::int32_t, std::int32_t, std::int32_t>;
      key best{link_class::remote, true, INT32_MAX, INT32_MAX, INT32_MAX};
      sourced_move choice{target, -1, -1, 0};
      for (const std::int32_t slot : replicas_) {
        const key candidate{state_.link(slot, target.slot), false, 0, sends_[state_.rank_of(slot)],
                            slot};
        if (candidate < best) best = candidate, choice.source_slot = slot;
      }
      for (std::size_t i = first; i < chosen_.size(); ++i) {
        const std::int32_t slot = chosen_[i].move.slot;
        const key candidate{state_.link(slot, target.slot), true, chosen_[i].fan_out,
                            sends_[state_.rank_of(slot)], slot};
        if (candidate < best)
          best = candidate, choice.source_slot = slot,
          choice.forwards = static_cast<std::int32_t>(i);
      }
      if (choice.source_slot < 0)
        throw std::logic_error("schedule: a move was admitted that has no source");
      if (choice.forwards >= 0) choice.fan_out = ++chosen_[choice.forwards].fan_out;
      if (std::get<link_class>(best) != link_class::local)
        ++sends_[state_.rank_of(choice.source_slot)];
      chosen_.push_back(choice);
    }
  }

  const transition& state_;
  std::vector<std::int32_t> sends_;  // [ranks], moves of this batch
  std::vector<std::int32_t> replicas_;
  std::vector<sourced_move> chosen_;
};

}  // namespace

void transition::finish(schedule& out) {
  const std::vector<sourced_move> sourced = source_chooser(*this).choose();
  std::vector<transfer> transfers;
  transfers.reserve(sourced.size());
  for (const sourced_move& one : sourced)
    transfers.push_back({rank_of(one.source_slot), rank_of(one.move.slot), one.forwards, 0});

  batch made;
  made.first_move = static_cast<std::int32_t>(out.moves.size());
  made.move_count = static_cast<std::int32_t>(sourced.size());
  made.first_release = static_cast<std::int32_t>(out.releases.size());
  made.release_count = static_cast<std::int32_t>(releases_.size());
  made.rounds = assign_rounds(transfers, ranks());
  made.after_previous_commit = now_ > 0 && oldest_ == now_;

  std::vector<std::int32_t> order(sourced.size()), place(sourced.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return std::tie(transfers[a].round, sourced[a].move.layer, sourced[a].move.slot) <
           std::tie(transfers[b].round, sourced[b].move.layer, sourced[b].move.slot);
  });
  for (std::size_t i = 0; i < order.size(); ++i)
    place[order[i]] = made.first_move + static_cast<std::int32_t>(i);
  std::vector<std::int32_t> staging_rows(ranks(), 0);
  for (const std::int32_t i : order) {
    const sourced_move& one = sourced[i];
    scheduled_move move;
    move.layer = one.move.layer;
    move.expert = one.move.expert;
    move.source_slot = one.source_slot;
    move.target_slot = one.move.slot;
    move.source_rank = transfers[i].source_rank;
    move.target_rank = transfers[i].target_rank;
    move.link = link(move.source_slot, move.target_slot);
    move.way = one.move.way;
    move.round = transfers[i].round;
    if (one.forwards >= 0)
      move.forwards = place[one.forwards];
    else
      read_in_[row(move.layer, move.source_slot)] = now_;
    if (move.way == move_way::staged) move.staging_row = staging_rows[move.target_rank]++;
    out.moves.push_back(move);
  }
  std::sort(releases_.begin(), releases_.end(),
            [](const admitted_release& a, const admitted_release& b) {
              return std::tie(a.layer, a.slot) < std::tie(b.layer, b.slot);
            });
  for (const admitted_release& one : releases_) out.releases.push_back({one.layer, one.slot});
  out.batches.push_back(made);
  commit();
}

}  // namespace ballast::scheduling
