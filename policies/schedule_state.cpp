// Reading a request into a transition, and the rules for what a batch may admit.

#include "policies/schedule_state.hpp"

#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>

namespace ballast::scheduling {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw std::invalid_argument("schedule: " + what);
}

std::string text(std::int64_t value) { return std::to_string(value); }

constexpr std::int32_t never = -2;  // before any batch and its predecessor

const schedule_request& complete(const schedule_request& request) {
  if (!request.current || !request.target || !request.cluster)
    refuse("current placement, target and cluster map must be given");
  return request;
}

}  // namespace

transition::transition(const schedule_request& request)
    : request_(complete(request)),
      layout_(request.current->layout()),
      slots_(request.current->slots()),
      experts_(request.current->experts()),
      receive_limit_(request.receives_per_batch) {
  check_shapes();
  if (request.way == way_choice::staged) receive_limit_ = staged_room();
  read_placements();
  distrust();
  check_sources();
  count_immovable();
}

void transition::check_shapes() const {
  const placement& current = *request_.current;
  const placement& target = *request_.target;
  if (current.layers() != target.layers())
    refuse("the target has " + text(target.layers()) + " layers, the current placement " +
           text(current.layers()));
  if (current.experts() != target.experts())
    refuse("the target has " + text(target.experts()) + " experts, the current placement " +
           text(current.experts()));
  if (!(current.layout() == target.layout()))
    refuse("target and current placement have different slot layouts");
  if (request_.cluster->rank_count() != current.layout().ranks())
    refuse("the cluster map has " + text(request_.cluster->rank_count()) +
           " ranks, the placement " + text(current.layout().ranks()));
  if (request_.staging_rows < 1)
    refuse("staging_rows is " + text(request_.staging_rows) + ", at least 1 is needed");
  if (request_.receives_per_batch < 1)
    refuse("receives_per_batch is " + text(request_.receives_per_batch) + ", at least 1 is needed");
  if (request_.way > way_choice::staged)
    refuse("way is " + text(static_cast<int>(request_.way)) + ", 0 to 3 are known");
  if (static_cast<std::int64_t>(current.layers()) * current.slots() >
      std::numeric_limits<std::int32_t>::max())
    refuse(text(current.layers()) + " layers of " + text(current.slots()) +
           " slots are more than 2^31 rows");
  if (const std::string reason = why_illegal(target, true); !reason.empty())
    refuse("the target is illegal: " + reason);
  check_slots();
}

void transition::check_slots() const {
  const auto check_size = [](const char* field, std::size_t size, int wanted, const char* of) {
    if (size != 0 && size != static_cast<std::size_t>(wanted))
      refuse(std::string(field) + " is given for " + text(static_cast<std::int64_t>(size)) + " " +
             of + ", there are " + text(wanted));
  };
  check_size("rows_per_layer", request_.rows_per_layer.size(), layers(), "layers");
  check_size("gone_ranks", request_.gone_ranks.size(), ranks(), "ranks");
  for (int layer = 0; layer < layers(); ++layer) {
    for (std::int32_t slot = 0; slot < slots_; ++slot) {
      const std::int32_t expert = request_.target->experts_of(layer)[slot];
      if (expert == no_expert || exists(layer, slot)) continue;
      refuse("the target has expert " + text(expert) + " of layer " + text(layer) + " in slot " +
             text(slot) +
             (is_gone(rank_of(slot)) ? ", whose rank is gone" : ", which the layer does not have"));
    }
  }
}

void transition::read_placements() {
  const std::size_t rows = static_cast<std::size_t>(layers()) * slots_;
  const std::size_t pairs = static_cast<std::size_t>(layers()) * experts_;
  next_holder_.assign(rows, -1);
  previous_holder_.assign(rows, -1);
  touched_in_.assign(rows, never);
  in_place_in_.assign(rows, never);
  read_in_.assign(rows, never);
  counts_.assign(rows, 1);
  first_holder_.assign(pairs, -1);
  hosted_.assign(pairs, 0);
  held_.reserve(rows);
  wanted_.reserve(rows);
  home_slots_.assign(rows, -1);
  first_home_.reserve(pairs + layers());
  open_slots_.resize(layers());
  pending_.assign(ranks(), 0);
  received_.assign(ranks(), 0);
  staged_.assign(ranks(), 0);
  expected_sends_.assign(ranks(), 0);
  for (int layer = 0; layer < layers(); ++layer) {
    std::vector<std::int32_t> now(request_.current->experts_of(layer).begin(),
                                  request_.current->experts_of(layer).end());
    for (std::int32_t slot = 0; slot < slots_; ++slot) {
      if (is_gone(rank_of(slot))) now[slot] = no_expert;
    }
    const auto then = request_.target->experts_of(layer);
    held_.insert(held_.end(), now.begin(), now.end());
    wanted_.insert(wanted_.end(), then.begin(), then.end());
    const replica_lists homes = list_replicas(then, experts_);
    first_home_.insert(first_home_.end(), homes.first_replica.begin(), homes.first_replica.end());
    std::copy(homes.slot_of_replica.begin(), homes.slot_of_replica.end(),
              home_slots_.begin() + row(layer, 0));
    for (std::int32_t slot = slots_ - 1; slot >= 0; --slot) {
      if (now[slot] < no_expert || now[slot] >= experts_)
        refuse("layer " + text(layer) + " slot " + text(slot) +
               " of the current placement holds expert " + text(now[slot]) + ", there are " +
               text(experts_));
      if (now[slot] != no_expert) link_holder(layer, slot, now[slot]);
    }
    for (std::int32_t slot = 0; slot < slots_; ++slot) {
      if (now[slot] == then[slot]) continue;
      open_slots_[layer].push_back(slot);
      if (then[slot] != no_expert) ++pending_[rank_of(slot)];
    }
    open_count_ += static_cast<std::int64_t>(open_slots_[layer].size());
  }
}

// A distrusted copy does not count as a replica, so that the last trusted one is never given up.
void transition::distrust() {
  for (const slot_ref& one : request_.distrusted) {
    if (one.layer < 0 || one.layer >= layers() || one.slot < 0 || one.slot >= slots_)
      refuse("the distrusted slot " + text(one.slot) + " of layer " + text(one.layer) +
             " does not exist");
    counts_[row(one.layer, one.slot)] = 0;
  }
  for (int layer = 0; layer < layers(); ++layer)
    for (std::int32_t slot = 0; slot < slots_; ++slot)
      if (const std::int32_t expert = holds(layer, slot);
          expert != no_expert && counts_[row(layer, slot)])
        ++hosted_[pair(layer, expert)];
}

void transition::check_sources() const {
  for (int layer = 0; layer < layers(); ++layer) {
    for (std::int32_t slot : open_slots_[layer]) {
      const std::int32_t expert = wants(layer, slot);
      if (expert == no_expert || hosted(layer, expert) > 0) continue;
      const std::string name = "layer " + text(layer) + " expert " + text(expert);
      if (const std::int32_t bad = first_holder(layer, expert); bad >= 0)
        refuse(name + " must move, but every copy of it is distrusted (the first in slot " +
               text(bad) + ")");
      refuse(name + " must move, but it is in no slot of the current placement");
    }
  }
}

// An expert that is wherever it belongs is not read, so its distrusted copies count after all: they
// serve, as they did.
void transition::count_immovable() {
  for (const slot_ref& one : request_.distrusted) {
    const std::int32_t expert = holds(one.layer, one.slot);
    if (expert == no_expert) continue;
    const auto all = homes(one.layer, expert);
    if (std::all_of(all.begin(), all.end(),
                    [&](std::int32_t home) { return holds(one.layer, home) == expert; }))
      immovable_.push_back(pair(one.layer, expert));
  }
  std::sort(immovable_.begin(), immovable_.end());
  immovable_.erase(std::unique(immovable_.begin(), immovable_.end()), immovable_.end());
  for (const std::size_t at : immovable_) {
    const int layer = static_cast<int>(at / experts_);
    hosted_[at] = 0;
    for (std::int32_t slot = first_holder_[at]; slot >= 0; slot = next_holder(layer, slot)) {
      counts_[row(layer, slot)] = 1;
      ++hosted_[at];
    }
  }
}

link_class transition::link(std::int32_t from_slot, std::int32_t to_slot) const {
  return request_.cluster->link(rank_of(from_slot), rank_of(to_slot));
}

std::span<const std::int32_t> transition::homes(int layer, std::int32_t expert) const {
  const std::size_t first = static_cast<std::size_t>(layer) * (experts_ + 1) + expert;
  return {home_slots_.data() + row(layer, first_home_[first]),
          static_cast<std::size_t>(first_home_[first + 1] - first_home_[first])};
}

bool transition::is_readable(int layer, std::int32_t slot) const {
  const std::size_t at = row(layer, slot);
  if (!counts_[at]) return false;
  return touched_in_[at] < oldest_ || (touched_in_[at] == now_ && in_place_in_[at] != now_);
}

bool transition::is_spared(int layer, std::int32_t slot) const {
  return hosted(layer, holds(layer, slot)) > counts_[row(layer, slot)];
}

bool transition::can_vacate(int layer, std::int32_t slot) const {
  const std::size_t at = row(layer, slot);
  if (is_touched(layer, slot) || held_[at] == no_expert || read_in_[at] >= oldest_) return false;
  return serving_[pair(layer, held_[at])] > counts_[at] && is_spared(layer, slot);
}

bool transition::can_release(int layer, std::int32_t slot) const {
  return !is_touched(layer, slot) && is_spared(layer, slot);
}

bool transition::has_room(int rank, move_way way) const {
  return received_[rank] < receive_limit_ &&
         (way != move_way::staged || staged_[rank] < request_.staging_rows);
}

// As in schedule_sources.cpp, roughly: the nearest class, then the rank that sends least. -1 if the
// expert is inside the rank or will be forwarded by a nearer slot that this batch fills; looks at
// 64 of these.
std::int32_t transition::expected_sender(int layer, std::int32_t expert, std::int32_t slot) const {
  std::int32_t best = -1;
  link_class nearest = link_class::remote;
  for (std::int32_t s = first_holder(layer, expert); s >= 0; s = next_holder(layer, s)) {
    if (!is_readable(layer, s)) continue;
    const std::int32_t rank = rank_of(s);
    const link_class here = link(s, slot);
    if (best < 0 || std::tuple(here, expected_sends_[rank], rank) <
                        std::tuple(nearest, expected_sends_[best], best))
      best = rank, nearest = here;
  }
  if (nearest == link_class::local) return -1;
  const auto others = homes(layer, expert);
  for (std::size_t i = 0; i < others.size() && i < 64; ++i)
    if (touched_in_[row(layer, others[i])] == now_ && link(others[i], slot) < nearest) return -1;
  return best;
}

bool transition::has_idle_sender(int layer, std::int32_t expert, std::int32_t slot) const {
  const std::int32_t sender = expected_sender(layer, expert, slot);
  return sender < 0 || expected_sends_[sender] < receive_limit_;
}

void transition::rank_receives(int rank, int change) {
  const auto is_open = [&] {
    return received_[rank] < std::min<std::int64_t>(receive_limit_, pending_[rank]);
  };
  const bool was_open = is_open();
  received_[rank] += change;
  open_ranks_ += is_open() - was_open;
}

void transition::begin(bool overlapping) {
  moves_.clear();
  releases_.clear();
  oldest_ = overlapping ? now_ - 1 : now_;
  if (now_ == 0) serving_ = hosted_;
  refresh_serving(moves_before_that_, releases_before_that_);
  refresh_serving(moves_before_, releases_before_);
  if (overlapping)
    for (const admitted_move& move : moves_before_) --serving_[pair(move.layer, move.expert)];
  std::fill(received_.begin(), received_.end(), 0);
  std::fill(staged_.begin(), staged_.end(), 0);
  std::fill(expected_sends_.begin(), expected_sends_.end(), 0);
  open_ranks_ = static_cast<int>(
      std::count_if(pending_.begin(), pending_.end(), [](auto n) { return n > 0; }));
}

// An expert that a batch touched serves from all its slots again once the batch is out of flight.
void transition::refresh_serving(const std::vector<admitted_move>& moves,
                                 const std::vector<admitted_release>& releases) {
  const auto refresh = [&](int layer, std::int32_t expert) {
    serving_[pair(layer, expert)] = hosted_[pair(layer, expert)];
  };
  for (const admitted_move& move : moves) {
    refresh(move.layer, move.expert);
    if (move.displaced != no_expert) refresh(move.layer, move.displaced);
  }
  for (const admitted_release& one : releases) refresh(one.layer, one.expert);
}

void transition::admit(int layer, std::int32_t slot, std::int32_t expert, move_way way) {
  const std::size_t at = row(layer, slot);
  const std::int32_t rank = rank_of(slot);
  const admitted_move move{
      layer, slot, expert, held_[at], way, touched_in_[at], expected_sender(layer, expert, slot)};
  touched_in_[at] = now_;
  if (way != move_way::staged) in_place_in_[at] = now_;
  ++hosted_[pair(layer, expert)];
  if (move.displaced != no_expert) {
    hosted_[pair(layer, move.displaced)] -= counts_[at];
    if (way == move_way::vacate) serving_[pair(layer, move.displaced)] -= counts_[at];
  }
  rank_receives(rank, 1);
  if (way == move_way::staged) ++staged_[rank];
  if (move.expected_sender >= 0) ++expected_sends_[move.expected_sender];
  moves_.push_back(move);
}

void transition::withdraw_last() {
  const admitted_move move = moves_.back();
  moves_.pop_back();
  const std::size_t at = row(move.layer, move.slot);
  const std::int32_t rank = rank_of(move.slot);
  touched_in_[at] = move.previous_touch;
  in_place_in_[at] = never;
  --hosted_[pair(move.layer, move.expert)];
  if (move.displaced != no_expert) {
    hosted_[pair(move.layer, move.displaced)] += counts_[at];
    if (move.way == move_way::vacate) serving_[pair(move.layer, move.displaced)] += counts_[at];
  }
  rank_receives(rank, -1);
  if (move.way == move_way::staged) --staged_[rank];
  if (move.expected_sender >= 0) --expected_sends_[move.expected_sender];
}

void transition::release(int layer, std::int32_t slot) {
  const std::size_t at = row(layer, slot);
  touched_in_[at] = now_;
  hosted_[pair(layer, held_[at])] -= counts_[at];
  releases_.push_back({layer, slot, held_[at]});
}

void transition::link_holder(int layer, std::int32_t slot, std::int32_t expert) {
  std::int32_t& first = first_holder_[pair(layer, expert)];
  next_holder_[row(layer, slot)] = first;
  previous_holder_[row(layer, slot)] = -1;
  if (first >= 0) previous_holder_[row(layer, first)] = slot;
  first = slot;
}

void transition::unlink_holder(int layer, std::int32_t slot) {
  const std::int32_t next = next_holder_[row(layer, slot)];
  const std::int32_t previous = previous_holder_[row(layer, slot)];
  if (next >= 0) previous_holder_[row(layer, next)] = previous;
  if (previous >= 0)
    next_holder_[row(layer, previous)] = next;
  else
    first_holder_[pair(layer, holds(layer, slot))] = next;
}

// Takes the batch being made as committed: what it moves and releases is where it will be.
void transition::commit() {
  std::vector<std::int32_t> changed_layers;
  const auto put = [&](int layer, std::int32_t slot, std::int32_t expert) {
    const std::size_t at = row(layer, slot);
    const bool was_open = held_[at] != wanted_[at], is_open = expert != wanted_[at];
    if (held_[at] != no_expert) unlink_holder(layer, slot);
    if (expert != no_expert) link_holder(layer, slot, expert);
    held_[at] = expert;
    counts_[at] = 1;
    if (wanted_[at] != no_expert) pending_[rank_of(slot)] += is_open - was_open;
    changed_layers.push_back(layer);
  };
  for (const admitted_move& move : moves_) put(move.layer, move.slot, move.expert);
  for (const admitted_release& one : releases_) put(one.layer, one.slot, no_expert);
  std::sort(changed_layers.begin(), changed_layers.end());
  changed_layers.erase(std::unique(changed_layers.begin(), changed_layers.end()),
                       changed_layers.end());
  for (int layer : changed_layers) {
    open_count_ -= static_cast<std::int64_t>(open_slots_[layer].size());
    open_slots_[layer].clear();
    for (std::int32_t slot = 0; slot < slots_; ++slot)
      if (holds(layer, slot) != wants(layer, slot)) open_slots_[layer].push_back(slot);
    open_count_ += static_cast<std::int64_t>(open_slots_[layer].size());
  }
  moves_before_that_ = std::move(moves_before_);
  releases_before_that_ = std::move(releases_before_);
  moves_before_ = std::move(moves_);
  releases_before_ = std::move(releases_);
  moves_.clear();
  releases_.clear();
  ++now_;
}

}  // namespace ballast::scheduling
