#pragma once
// What serves now: the placement that tokens are routed by, and the tables made from it. The
// tables' addresses never change, so an engine may keep them. Between the batches of an epoch rows
// can be empty; shares always sum up.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/route.hpp"
#include "policies/placement.hpp"
#include "runtime/ballast.h"

namespace ballast {

class live_placement {
 public:
  explicit live_placement(placement initial);

  const placement& current() const { return current_; }

  /// Changes who is in a slot. Shares and tables follow when refresh() is called for the layer.
  void set_expert(int layer, int slot, int expert);

  /// How many slots of the layer serve this expert.
  int replicas(int layer, int expert) const {
    return replica_count_[static_cast<std::size_t>(layer) * current_.experts() + expert];
  }

  /// How many experts, over all layers, no slot serves.
  int experts_lost() const { return experts_lost_; }

  /// Recomputes shares and tables of a layer on its way to `target` (the placement itself if there
  /// is none) and counts a commit if `committed`. Allocates nothing.
  void refresh(int layer, const placement& target, bool committed);

  route_tables tables(int layer) const;
  void describe(int layer, ballast_layer_tables& out) const;

 private:
  placement current_;
  int experts_lost_ = 0;
  std::vector<std::int32_t> replica_count_;      // [layers, experts]
  std::vector<std::int32_t> replica_first_;      // [layers, experts + 1]
  std::vector<std::int32_t> replica_slot_;       // [layers, slots]
  std::vector<std::int32_t> replica_share_end_;  // [layers, slots]
  std::vector<std::int32_t> scratch_;            // [experts]
};

}  // namespace ballast
