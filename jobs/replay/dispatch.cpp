#include "jobs/replay/dispatch.hpp"

#include <algorithm>
#include <numeric>

namespace ballast {

void dispatch_plan::make(std::span<const std::int32_t> slots, dispatch_shape shape) {
  const std::size_t per_rank = slots.size() / shape.ranks;
  const auto mine = slots.subspan(per_rank * shape.rank, per_rank);
  sent_to.assign(shape.ranks, 0);
  for (const std::int32_t slot : mine) {
    if (slot >= 0) ++sent_to[slot / shape.rows_per_rank];
  }
  std::vector<std::int32_t> next(shape.ranks);
  std::exclusive_scan(sent_to.begin(), sent_to.end(), next.begin(), 0);
  sent_token.resize(std::accumulate(sent_to.begin(), sent_to.end(), std::size_t{0}));
  item_of_slot.assign(per_rank, -1);
  for (std::size_t i = 0; i < per_rank; ++i) {
    if (mine[i] < 0) continue;
    item_of_slot[i] = next[mine[i] / shape.rows_per_rank]++;
    sent_token[item_of_slot[i]] = static_cast<std::int32_t>(i / shape.columns);
  }

  std::vector<std::int32_t> rows;  // of the items received
  received_from.assign(shape.ranks, 0);
  for (int source = 0; source < shape.ranks; ++source) {
    for (const std::int32_t slot : slots.subspan(per_rank * source, per_rank)) {
      if (slot < 0 || slot / shape.rows_per_rank != shape.rank) continue;
      rows.push_back(slot % shape.rows_per_rank);
      ++received_from[source];
    }
  }
  item_at_place.resize(rows.size());
  std::iota(item_at_place.begin(), item_at_place.end(), 0);
  std::ranges::stable_sort(item_at_place, {}, [&](std::int32_t item) { return rows[item]; });
  place_of_item.resize(rows.size());
  batches.clear();
  for (std::int32_t place = 0; place < static_cast<std::int32_t>(rows.size()); ++place) {
    const std::int32_t row = rows[item_at_place[place]];
    place_of_item[item_at_place[place]] = place;
    if (batches.empty() || batches.back().row != row) batches.push_back({row, place, place});
    batches.back().end = place + 1;
  }
}

}  // namespace ballast
