#pragma once
// Chooses what goes into each batch of a schedule.

#include <cstdint>
#include <vector>

#include "policies/schedule_state.hpp"

namespace ballast::scheduling {

/// Fills batches greedily, layers in ascending order and later layers as long as ranks have room:
/// moves into empty rows and into rows whose expert keeps a replica, then staged moves in closed
/// chains, then releases.
class composer {
 public:
  explicit composer(const schedule_request& request);

  schedule run();

 private:
  bool compose(bool overlapping, bool at_any_price);
  void fill_in_place(int layer);
  void fill_staged(int layer);
  void fill_releases(int layer);

  bool stage_chain(int layer, std::int32_t first_slot);
  std::int32_t home_for(int layer, std::int32_t expert, bool& in_flight) const;
  bool cut_chain(std::size_t chain_start);
  void give_up(std::size_t chain_start);
  bool can_land_in_place(int layer, std::int32_t slot) const;
  bool is_near_source(int layer, std::int32_t slot) const;
  bool is_dead_end(int layer, std::int32_t slot) const;

  struct swap_step {
    std::int32_t slot = 0;
    std::int32_t expert = 0;  ///< no_expert: a release
    move_way way = move_way::staged;
  };
  struct inner_swap {
    int layer = 0;
    std::vector<std::vector<swap_step>> batches;
    int rank = 0;
    int helper_rank = 0;
  };
  void swap_inside_ranks();
  inner_swap plan_inner_swap(int layer, const std::vector<std::uint8_t>& busy_ranks) const;

  transition state_;
  schedule made_;
  /// Nothing else is possible: give up near sources, cut any chain.
  bool at_any_price_ = false;
  /// Chains of the layer at hand.
  bool may_cut_ = false;
  /// Number of the call of compose.
  std::int32_t attempt_ = 0;
  /// [layers][slots], attempt in which a chain through the slot was given up.
  std::vector<std::int32_t> dead_end_in_;
};

}  // namespace ballast::scheduling
