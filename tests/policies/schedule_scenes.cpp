#include "tests/policies/schedule_scenes.hpp"

namespace ballast::testing {

void scene::connect() {
  request.current = &current;
  request.target = &target;
  request.cluster = &cluster;
  request.distrusted = distrusted;
}

cluster_map cluster_of(int ranks, int nodes, int islands_per_node) {
  cluster_map map;
  const int per_node = (ranks + nodes - 1) / nodes;
  for (int rank = 0; rank < ranks; ++rank) {
    rank_place place;
    place.node = rank / per_node;
    place.local_rank = rank % per_node;
    place.island = place.node * islands_per_node + place.local_rank % islands_per_node;
    map.ranks.push_back(place);
  }
  return map;
}

namespace {

void share_equally(placement& of) {
  for (int layer = 0; layer < of.layers(); ++layer)
    set_equal_shares(of.experts_of(layer), of.experts(), of.shares_of(layer));
}

}  // namespace

placement placement_of(const slot_layout& layout, int experts,
                       const std::vector<std::vector<std::int32_t>>& rows) {
  placement made(static_cast<int>(rows.size()), experts, layout);
  for (std::size_t layer = 0; layer < rows.size(); ++layer)
    std::copy(rows[layer].begin(), rows[layer].end(),
              made.experts_of(static_cast<int>(layer)).begin());
  share_equally(made);
  return made;
}

placement random_placement(dice& roll, int layers, int experts, const slot_layout& layout,
                           int extras, bool duplicates) {
  placement made(layers, experts, layout);
  for (int layer = 0; layer < layers; ++layer) {
    const auto row = made.experts_of(layer);
    std::vector<std::int32_t> order(layout.slots());
    for (int i = 0; i < layout.slots(); ++i) order[i] = i;
    roll.shuffle(order);
    for (int i = 0; i < layout.slots(); ++i) {
      if (i >= experts + extras) break;
      const std::int32_t expert = i < experts ? i : roll.below(experts);
      const int rank = layout.rank_of(order[i]);
      const auto first = row.begin() + layout.first(rank);
      if (!duplicates &&
          std::find(first, first + layout.count(rank), expert) != first + layout.count(rank))
        continue;
      row[order[i]] = expert;
    }
  }
  share_equally(made);
  return made;
}

namespace {

// A few random exchanges and overwritten replicas away from `from`.
placement nearby_placement(dice& roll, const placement& from, int changes) {
  placement made = from;
  for (int layer = 0; layer < made.layers(); ++layer) {
    const auto row = made.experts_of(layer);
    for (int i = 0; i < changes; ++i) {
      const int a = roll.below(made.slots()), b = roll.below(made.slots());
      const bool spared = row[a] == no_expert || std::count(row.begin(), row.end(), row[a]) > 1;
      if (spared && roll.one_in(2))
        row[a] = roll.one_in(4) ? no_expert : row[b];
      else
        std::swap(row[a], row[b]);
    }
  }
  share_equally(made);
  return made;
}

}  // namespace

scene random_scene(std::uint64_t seed) {
  dice roll(seed);
  scene made;
  const int ranks = roll.one_in(8) ? 16 : roll.between(1, 9);
  std::vector<std::int32_t> counts(ranks, roll.between(1, 9));
  if (roll.one_in(4))
    for (auto& count : counts) count = roll.between(0, 9);
  if (std::count(counts.begin(), counts.end(), 0) == ranks) counts[0] = 1;
  const slot_layout layout = slot_layout::ragged(counts);
  const int experts = std::min(layout.slots(), roll.between(1, 64));
  const int layers = roll.between(1, 5);
  const int room = layout.slots() - experts;
  const bool duplicates = roll.one_in(3);
  const auto extras = [&] { return roll.one_in(2) ? room : roll.between(0, room); };
  made.current = random_placement(roll, layers, experts, layout, extras(), duplicates);
  if (roll.one_in(3))
    made.target = nearby_placement(roll, made.current, roll.between(0, 6));
  else
    made.target = random_placement(roll, layers, experts, layout, extras(), duplicates);
  const int nodes = roll.between(1, 4);
  const int islands_per_node = roll.between(1, 2);
  made.cluster = cluster_of(ranks, nodes, islands_per_node);
  made.request.staging_rows = roll.between(1, 3);
  made.request.receives_per_batch = roll.between(1, 8);
  made.request.way = static_cast<way_choice>(roll.between(0, 3));
  if (roll.one_in(4))
    for (int i = roll.between(1, 8); i > 0; --i)
      made.distrusted.push_back({roll.below(layers), roll.below(layout.slots())});
  return made;
}

scene tight_scene(std::uint64_t seed) {
  dice roll(seed);
  scene made;
  const int ranks = roll.between(2, 4), slots_per_rank = roll.between(2, 4),
            layers = roll.between(1, 4);
  const slot_layout layout = slot_layout::uniform(ranks, slots_per_rank);
  const int experts = layout.slots() - (roll.one_in(4) ? 1 : 0);
  made.current = random_placement(roll, layers, experts, layout, 0, false);
  made.target = made.current;
  for (int layer = 0; layer < layers; ++layer) {
    const auto row = made.target.experts_of(layer);
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<std::int32_t> own(row.begin() + layout.first(rank),
                                    row.begin() + layout.first(rank + 1));
      if (roll.one_in(4)) continue;
      roll.shuffle(own);
      std::copy(own.begin(), own.end(), row.begin() + layout.first(rank));
    }
  }
  share_equally(made.target);
  made.cluster = cluster_of(ranks, roll.between(1, 2), 1);
  made.request.staging_rows = roll.between(1, 2);
  made.request.receives_per_batch = made.request.staging_rows == 1 ? roll.between(1, 3) : 1;
  made.request.way = static_cast<way_choice>(roll.between(0, 3));
  return made;
}

}  // namespace ballast::testing
