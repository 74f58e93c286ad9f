// A maximum-weight matching by shortest augmenting paths (Kuhn, Munkres, Jonker and Volgenant) over
// the few pairs that keep anything at all. Leaving a part without a rank keeps nothing and is
// always possible; such parts take the ranks left over in the end.

#include "policies/rank_matching.hpp"

#include <algorithm>
#include <functional>
#include <limits>

namespace ballast {

namespace {

constexpr std::int32_t none = -1;
constexpr std::int32_t far = std::numeric_limits<std::int32_t>::max();

}  // namespace

void rank_matcher::match(const slot_layout& layout, std::span<const std::int32_t> usable,
                         std::span<const std::int32_t> current, int experts,
                         std::span<std::int32_t> planned) {
  const auto ranks = static_cast<std::size_t>(layout.ranks());
  list_edges(layout, usable, current, experts, planned);
  part_price_.assign(ranks, 0);
  rank_price_.assign(ranks, 0);
  rank_of_part_.assign(ranks, none);
  part_of_rank_.assign(ranks, none);
  distance_.assign(ranks, far);
  came_from_.assign(ranks, none);
  settled_.assign(ranks, 0);
  for (std::size_t part = 0; part < ranks; ++part) augment(static_cast<std::int32_t>(part));
  match_the_rest(layout, usable);
  moved_.assign(planned.begin(), planned.end());
  for (int part = 0; part < layout.ranks(); ++part) {
    const int to = layout.first(rank_of_part_[part]);
    for (int i = 0; i < layout.count(part); ++i) planned[to + i] = moved_[layout.first(part) + i];
  }
}

void rank_matcher::list_edges(const slot_layout& layout, std::span<const std::int32_t> usable,
                              std::span<const std::int32_t> current, int experts,
                              std::span<const std::int32_t> planned) {
  const replica_lists now = list_replicas(current, experts);
  kept_on_.assign(static_cast<std::size_t>(layout.ranks()), 0);
  first_edge_.assign(1, 0);
  edges_.clear();
  most_ = 0;
  for (int part = 0; part < layout.ranks(); ++part) {
    reached_.clear();
    for (int slot = layout.first(part); slot < layout.first(part + 1); ++slot) {
      const std::int32_t expert = planned[slot];
      if (expert == no_expert) continue;
      for (int i = now.first_replica[expert]; i < now.first_replica[expert + 1]; ++i) {
        const int rank = layout.rank_of(now.slot_of_replica[i]);
        if (!alike(layout, usable, part, rank)) continue;
        if (kept_on_[rank]++ == 0) reached_.push_back(rank);
      }
    }
    std::sort(reached_.begin(), reached_.end());
    for (const std::int32_t rank : reached_) {
      most_ = std::max(most_, kept_on_[rank]);
      edges_.push_back({rank, kept_on_[rank]});
      kept_on_[rank] = 0;
    }
    first_edge_.push_back(static_cast<std::int32_t>(edges_.size()));
  }
}

/// Finds the cheapest way to serve one more part, where an edge costs `most_` less what it keeps
/// and having no rank costs `most_`: over ranks whose parts give way in turn, to a free rank or to
/// a part that then has none. Prices keep all reduced costs at zero or above.
void rank_matcher::augment(std::int32_t part) {
  reached_.clear();
  queue_.clear();
  std::int32_t shortest = far;
  std::int32_t end_rank = none;
  std::int32_t end_part = none;  // one that is left without a rank
  std::int32_t at = part;
  std::int32_t length = 0;
  for (;;) {
    const std::int32_t without = length + most_ - part_price_[at];
    if (without < shortest) {
      shortest = without;
      end_part = at;
      end_rank = none;
    }
    for (std::int32_t e = first_edge_[at]; e < first_edge_[at + 1]; ++e) {
      const edge& next = edges_[e];
      if (settled_[next.rank]) continue;
      const std::int32_t reach =
          length + most_ - next.kept - part_price_[at] - rank_price_[next.rank];
      if (reach >= distance_[next.rank]) continue;
      if (distance_[next.rank] == far) reached_.push_back(next.rank);
      distance_[next.rank] = reach;
      came_from_[next.rank] = at;
      queue_.emplace_back(reach, next.rank);
      std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
    }
    std::int32_t nearest = none;
    while (!queue_.empty() && nearest == none) {
      std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
      if (!settled_[queue_.back().second]) nearest = queue_.back().second;
      queue_.pop_back();
    }
    if (nearest == none || distance_[nearest] > shortest) break;
    if (part_of_rank_[nearest] == none) {
      shortest = distance_[nearest];
      end_rank = nearest;
      end_part = none;
      break;
    }
    settled_[nearest] = 1;
    length = distance_[nearest];
    at = part_of_rank_[nearest];
  }
  for (const std::int32_t rank : reached_) {
    if (!settled_[rank] || distance_[rank] >= shortest) continue;
    part_price_[part_of_rank_[rank]] += shortest - distance_[rank];
    rank_price_[rank] -= shortest - distance_[rank];
  }
  part_price_[part] += shortest;
  if (end_part != none && end_part != part) {
    end_rank = rank_of_part_[end_part];
    rank_of_part_[end_part] = none;
  }
  while (end_rank != none) {
    const std::int32_t taker = came_from_[end_rank];
    const std::int32_t left = rank_of_part_[taker];
    rank_of_part_[taker] = end_rank;
    part_of_rank_[end_rank] = taker;
    end_rank = taker == part ? none : left;
  }
  for (const std::int32_t rank : reached_) {
    distance_[rank] = far;
    settled_[rank] = 0;
  }
}

void rank_matcher::match_the_rest(const slot_layout& layout, std::span<const std::int32_t> usable) {
  for (int part = 0; part < layout.ranks(); ++part) {
    if (rank_of_part_[part] != none || part_of_rank_[part] != none) continue;
    rank_of_part_[part] = part_of_rank_[part] = part;
  }
  for (int part = 0; part < layout.ranks(); ++part) {
    if (rank_of_part_[part] != none) continue;
    int rank = 0;  // one like this is left, for there are as many alike as parts for them
    while (part_of_rank_[rank] != none || !alike(layout, usable, part, rank)) ++rank;
    rank_of_part_[part] = rank;
    part_of_rank_[rank] = part;
  }
}

}  // namespace ballast
