// The order of preference inside a layer is: land in an empty row, vacate a row, stage. What is
// staged must be a closed chain: x takes the row of e, e takes a row of its own, and so on, until
// the expert displaced last keeps a replica or finds an empty row, or is x itself. A chain that
// finds no room is cut: the expert displaced last goes to the chain's first row, which stays open,
// while all its other rows are final.
//
// Progress: with nothing in flight and a batch still empty, if no row can be filled in place, every
// open row holds the only replica of an expert whose home is another open row. So a chain of two
// rows exists and can be cut there, unless both are on a rank with room for one; swap_inside_ranks
// helps out with a third row. Every batch but those makes slots final that never become open again,
// so the loop ends.

#include "policies/schedule_composer.hpp"

#include <stdexcept>
#include <string>

namespace ballast::scheduling {
namespace {

// A cut costs a move more. Chains of 4 give the fewest rounds over random permutations (58 layers x
// 256 experts, 32 ranks of 8 slots, 2 staging rows: 571 rounds; with 8 rows 632, with 2 rows 621).
constexpr std::size_t shortest_cut_chain = 4;

// A layer with more than one open slot in so many that is empty or holds an expert with another
// replica gets by without cuts.
constexpr std::size_t slots_per_slack = 32;

// After so many layers in a row that added nothing to a batch, ranks are too full for the search to
// go on.
constexpr int fruitless_layers_limit = 8;

}  // namespace

composer::composer(const schedule_request& request)
    : state_(request),
      dead_end_in_(static_cast<std::size_t>(state_.layers()) * state_.slots(), 0) {}

schedule composer::run() {
  while (!state_.done()) {
    const bool found = (state_.has_previous() && compose(true, false)) || compose(false, false) ||
                       compose(false, true);
    const std::size_t batches = made_.batches.size();
    if (found)
      state_.finish(made_);
    else
      swap_inside_ranks();
    if (made_.batches.size() == batches)
      throw std::logic_error("schedule: open slots are left that no batch can fill");
  }
  return std::move(made_);
}

bool composer::compose(bool overlapping, bool at_any_price) {
  const way_choice way = state_.request().way;
  at_any_price_ = at_any_price;
  ++attempt_;
  state_.begin(overlapping);
  int fruitless = 0;
  for (int layer = 0; layer < state_.layers(); ++layer) {
    if (!state_.admitted().empty() &&
        (!state_.any_rank_open() || fruitless == fruitless_layers_limit))
      break;
    if (state_.open_slots(layer).empty()) continue;
    const std::size_t before = state_.admitted().size();
    if (way != way_choice::staged) fill_in_place(layer);
    if (way != way_choice::vacate) fill_staged(layer);
    fill_releases(layer);
    fruitless = state_.admitted().size() > before ? 0 : fruitless + 1;
  }
  if (way == way_choice::vacate && state_.is_empty())
    for (int layer = 0; layer < state_.layers() && state_.any_rank_open(); ++layer)
      fill_staged(layer);
  return !state_.is_empty();
}

void composer::fill_in_place(int layer) {
  for (const std::int32_t slot : state_.open_slots(layer)) {
    const std::int32_t expert = state_.wants(layer, slot);
    if (expert == no_expert || !state_.has_room(state_.rank_of(slot), move_way::vacate)) continue;
    if (!can_land_in_place(layer, slot) || !state_.has_source(layer, expert)) continue;
    if (!state_.has_idle_sender(layer, expert, slot)) continue;
    const bool is_empty = state_.holds(layer, slot) == no_expert;
    state_.admit(layer, slot, expert, is_empty ? move_way::spare : move_way::vacate);
  }
}

void composer::fill_staged(int layer) {
  const bool rows_may_be_empty = state_.request().way == way_choice::staged;
  std::size_t slack = 0;
  for (const std::int32_t slot : state_.open_slots(layer))
    slack += state_.holds(layer, slot) == no_expert || state_.is_spared(layer, slot);
  may_cut_ = at_any_price_ || slack * slots_per_slack < state_.open_slots(layer).size();
  for (const std::int32_t slot : state_.open_slots(layer)) {
    const std::int32_t expert = state_.wants(layer, slot);
    if (expert == no_expert || state_.is_touched(layer, slot) || is_dead_end(layer, slot)) continue;
    if (state_.holds(layer, slot) == no_expert && !rows_may_be_empty) continue;
    if (!state_.has_room(state_.rank_of(slot), move_way::staged) ||
        !state_.has_source(layer, expert))
      continue;
    if (state_.has_idle_sender(layer, expert, slot)) stage_chain(layer, slot);
  }
}

void composer::fill_releases(int layer) {
  for (const std::int32_t slot : state_.open_slots(layer))
    if (state_.wants(layer, slot) == no_expert && state_.can_release(layer, slot))
      state_.release(layer, slot);
}

bool composer::stage_chain(int layer, std::int32_t first_slot) {
  const std::size_t chain_start = state_.admitted().size();
  std::int32_t slot = first_slot;
  for (;;) {
    state_.admit(layer, slot, state_.wants(layer, slot), move_way::staged);
    const std::int32_t displaced = state_.holds(layer, slot);
    if (displaced == no_expert || state_.hosted(layer, displaced) > 0) return true;
    bool in_flight = false;
    const std::int32_t home = home_for(layer, displaced, in_flight);
    if (home < 0) {
      if (may_cut_ && (!in_flight || at_any_price_) && cut_chain(chain_start)) return true;
      give_up(chain_start);
      return false;
    }
    if (can_land_in_place(layer, home)) {
      const bool is_empty = state_.holds(layer, home) == no_expert;
      state_.admit(layer, home, displaced, is_empty ? move_way::spare : move_way::vacate);
      return true;
    }
    slot = home;
  }
}

// The slot where the expert may land next in this batch: best in place, then where the expert
// displaced keeps a replica, then the lowest; -1 if there is none. `in_flight`: it will find one
// once the batch before has committed.
std::int32_t composer::home_for(int layer, std::int32_t expert, bool& in_flight) const {
  std::int32_t best = -1, best_rating = 3;
  for (const std::int32_t slot : state_.homes(layer, expert)) {
    if (state_.holds(layer, slot) == expert) continue;
    if (state_.is_touched(layer, slot)) {
      in_flight = true;
      continue;
    }
    const bool in_place = can_land_in_place(layer, slot);
    if (is_dead_end(layer, slot) ||
        !state_.has_room(state_.rank_of(slot), in_place ? move_way::vacate : move_way::staged))
      continue;
    const bool displaces_none =
        state_.holds(layer, slot) == no_expert || state_.is_spared(layer, slot);
    const std::int32_t rating = in_place ? 0 : displaces_none ? 1 : 2;
    if (rating < best_rating) best = slot, best_rating = rating;
  }
  return best;
}

// The last expert of the admitted chain finds no room at home. Lengthens the chain at its beginning
// as far as there is room, then sends that expert to its first row. A short chain is given up
// instead, unless there is nothing else to do.
bool composer::cut_chain(std::size_t chain_start) {
  const int layer = state_.admitted()[chain_start].layer;
  const std::int32_t homeless = state_.admitted().back().displaced;
  std::int32_t first = state_.admitted()[chain_start].slot;
  for (;;) {
    const std::int32_t before = state_.first_holder(layer, state_.wants(layer, first));
    if (before < 0 || state_.next_holder(layer, before) >= 0 || state_.is_touched(layer, before))
      break;
    const std::int32_t wanted = state_.wants(layer, before);
    if (wanted == no_expert || wanted == state_.holds(layer, before)) break;
    if (!state_.has_room(state_.rank_of(before), move_way::staged)) break;
    state_.admit(layer, before, wanted, move_way::staged);
    first = before;
  }
  const std::vector<admitted_move> chain(state_.admitted().begin() + chain_start,
                                         state_.admitted().end());
  const std::size_t shortest = at_any_price_ && chain_start == 0 ? 2 : shortest_cut_chain;
  if (chain.size() < shortest) return false;
  for (std::size_t i = 0; i < chain.size(); ++i) state_.withdraw_last();
  for (const admitted_move& move : chain)
    state_.admit(layer, move.slot, move.slot == first ? homeless : move.expert, move_way::staged);
  return true;
}

void composer::give_up(std::size_t chain_start) {
  while (state_.admitted().size() > chain_start) {
    const admitted_move& last = state_.admitted().back();
    dead_end_in_[static_cast<std::size_t>(last.layer) * state_.slots() + last.slot] = attempt_;
    state_.withdraw_last();
  }
}

bool composer::can_land_in_place(int layer, std::int32_t slot) const {
  const way_choice way = state_.request().way;
  if (way == way_choice::staged || state_.is_touched(layer, slot)) return false;
  if (state_.holds(layer, slot) == no_expert) return true;
  if (!state_.can_vacate(layer, slot)) return false;
  return way == way_choice::vacate || at_any_price_ || !is_near_source(layer, slot);
}

// True if the slot's replica is the nearest one of some slot that still waits for its expert: it
// had better be read before it is overwritten. Beyond 32 homes or replicas there is no need to be
// careful.
bool composer::is_near_source(int layer, std::int32_t slot) const {
  const std::int32_t expert = state_.holds(layer, slot);
  const auto homes = state_.homes(layer, expert);
  for (std::size_t i = 0; i < homes.size() && i < 32; ++i) {
    if (state_.holds(layer, homes[i]) == expert) continue;
    const link_class from_here = state_.link(slot, homes[i]);
    bool others_as_near = from_here == link_class::remote;
    std::int32_t other = state_.first_holder(layer, expert);
    for (int looked = 0; other >= 0 && looked < 32 && !others_as_near;
         ++looked, other = state_.next_holder(layer, other))
      others_as_near = other != slot && state_.is_readable(layer, other) &&
                       state_.link(other, homes[i]) <= from_here;
    if (!others_as_near && other < 0) return true;
  }
  return false;
}

bool composer::is_dead_end(int layer, std::int32_t slot) const {
  return !at_any_price_ &&
         dead_end_in_[static_cast<std::size_t>(layer) * state_.slots() + slot] == attempt_;
}

// All that is left are permutations inside ranks that have one staging row each. In as many layers
// as ranks allow at once, swaps two slots of a rank by way of a third slot.
void composer::swap_inside_ranks() {
  std::vector<std::uint8_t> busy(state_.ranks(), 0);
  std::vector<inner_swap> swaps;
  state_.begin(false);
  for (int layer = 0; layer < state_.layers(); ++layer) {
    if (state_.open_slots(layer).empty()) continue;
    inner_swap one = plan_inner_swap(layer, busy);
    if (one.batches.empty()) continue;
    busy[one.rank] = busy[one.helper_rank] = 1;
    swaps.push_back(std::move(one));
  }
  for (std::size_t batch = 0; batch < 4; ++batch) {
    state_.begin(false);
    for (const inner_swap& one : swaps) {
      if (batch >= one.batches.size()) continue;
      for (const swap_step& step : one.batches[batch]) {
        if (step.expert == no_expert)
          state_.release(one.layer, step.slot);
        else
          state_.admit(one.layer, step.slot, step.expert, step.way);
      }
    }
    if (!state_.is_empty()) state_.finish(made_);
  }
}

// Slots a and b of one rank hold A and B, and A belongs in b. The third slot c is empty, or holds
// an expert C that has another replica, or is on another rank. No batches if every c is on a busy
// rank; throws if there is no c.
composer::inner_swap composer::plan_inner_swap(int layer,
                                               const std::vector<std::uint8_t>& busy_ranks) const {
  const std::int32_t a = state_.open_slots(layer).front();
  const int rank = state_.rank_of(a);
  const std::int32_t expert_a = state_.holds(layer, a);
  std::int32_t b = a;
  for (const std::int32_t home : state_.homes(layer, expert_a))
    if (state_.holds(layer, home) != expert_a) b = home;
  const std::int32_t expert_b = state_.holds(layer, b);

  enum kind { empty, replicated, other_rank, none };
  kind best = none;
  std::int32_t c = -1;
  bool exists = false;
  for (std::int32_t slot = 0; slot < state_.slots(); ++slot) {
    if (slot == a || slot == b || !state_.exists(layer, slot)) continue;
    const std::int32_t expert = state_.holds(layer, slot);
    kind found = none;
    if (expert == no_expert)
      found = empty;
    else if (!state_.may_move(layer, expert))
      found = none;
    else if (state_.is_spared(layer, slot))
      found = replicated;
    else if (state_.rank_of(slot) != rank)
      found = other_rank;
    if (found == none) continue;
    exists = true;
    if (found < best && !busy_ranks[rank] && !busy_ranks[state_.rank_of(slot)])
      best = found, c = slot;
  }
  if (!exists)
    throw std::invalid_argument(
        "schedule: layer " + std::to_string(layer) + " experts " + std::to_string(expert_a) +
        " and " + std::to_string(expert_b) + " cannot change places inside rank " +
        std::to_string(rank) +
        ": no slot can help out, so staging_rows and receives_per_batch must be at least 2");
  inner_swap swap{layer, {}, rank, rank};
  if (best == none) return swap;
  swap.helper_rank = state_.rank_of(c);
  const std::int32_t expert_c = state_.holds(layer, c);
  if (best == empty)
    swap.batches = {{{c, expert_a, move_way::spare}},
                    {{a, expert_b, move_way::vacate}},
                    {{b, expert_a, move_way::vacate}, {c, no_expert}}};
  else if (best == replicated)
    swap.batches = {{{c, expert_a, move_way::vacate}},
                    {{a, expert_b, move_way::vacate}},
                    {{b, expert_a, move_way::vacate}},
                    {{c, expert_c, move_way::vacate}}};
  else
    swap.batches = {{{a, expert_c}, {c, expert_a}},
                    {{b, expert_a}, {c, expert_b}},
                    {{a, expert_b}, {c, expert_c}}};
  return swap;
}

}  // namespace ballast::scheduling
