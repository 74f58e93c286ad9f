#pragma once
// Which rank takes which part of a plan: a planner that packs from nothing numbers its ranks as it
// likes, and the numbering that leaves most experts where they are moves least.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/placement.hpp"

namespace ballast {

/// Matches one layer after another and keeps its scratch memory between them.
class rank_matcher {
 public:
  /// `planned`: [slots of layout], permuted: the experts of a rank go as a whole to a rank with as
  /// many slots of which as many are `usable`. The number of experts that stay on their rank is the
  /// largest possible; a rank left over keeps its own part if that is left over too.
  void match(const slot_layout& layout, std::span<const std::int32_t> usable,
             std::span<const std::int32_t> current, int experts, std::span<std::int32_t> planned);

 private:
  struct edge {
    std::int32_t rank;
    std::int32_t kept;  // experts of the part that the rank holds now
  };

  bool alike(const slot_layout& layout, std::span<const std::int32_t> usable, int a, int b) const {
    return layout.count(a) == layout.count(b) && usable[a] == usable[b];
  }
  void list_edges(const slot_layout& layout, std::span<const std::int32_t> usable,
                  std::span<const std::int32_t> current, int experts,
                  std::span<const std::int32_t> planned);
  void augment(std::int32_t part);
  void match_the_rest(const slot_layout& layout, std::span<const std::int32_t> usable);

  std::vector<std::int32_t> first_edge_;  // [parts + 1]
  std::vector<edge> edges_;
  std::int32_t most_ = 0;                 // kept, of all edges
  std::vector<std::int32_t> part_price_;  // dual values
  std::vector<std::int32_t> rank_price_;
  std::vector<std::int32_t> rank_of_part_;  // -1: none
  std::vector<std::int32_t> part_of_rank_;
  std::vector<std::int32_t> distance_;   // [ranks] of the search
  std::vector<std::int32_t> came_from_;  // [ranks] part
  std::vector<std::uint8_t> settled_;
  std::vector<std::int32_t> reached_;
  std::vector<std::pair<std::int32_t, std::int32_t>> queue_;  // distance, rank
  std::vector<std::int32_t> kept_on_;                         // [ranks] of the part at hand
  std::vector<std::int32_t> moved_;
};

}  // namespace ballast
