#pragma once
// A budget of moves that can be saved: what calm epochs leave is there when the traffic changes.
// Pure, in integers.

#include <cstdint>
#include <span>

#include "policies/placement.hpp"
#include "policies/plan.hpp"

namespace ballast {

/// Each epoch earns `moves` per layer; up to `epochs` times that is kept, and all of it is there at
/// the start. So the mean over many epochs is at most `moves`, while one epoch may make many times
/// as many.
///
/// An epoch may spend what would be lost otherwise, or, if that is more, half as large a part of
/// the slots as its balance is short of 1, or that part less an eighth: at a balance of 0.9 a
/// twentieth of them, of 0.75 an eighth, of 0.4 nearly half. Where layers are nearly even a move
/// buys little, and waits for a better use.
class move_savings {
 public:
  move_savings() = default;
  /// `moves` from 0, `epochs` from 1.
  move_savings(std::int64_t moves, std::int32_t epochs);

  /// Earns what an epoch earns. Returns the moves that each layer may make in it, given the loads
  /// it plans for ([layers, experts], tokens) and the placement that it starts from, on `ranks`
  /// ranks that may hold experts.
  std::int64_t open_epoch(std::span<const std::int64_t> loads, const placement& current, int ranks);

  /// Lowers `limits` to `moves` per layer in the mean, and five times as many in one layer.
  static void limit(std::int64_t moves, int layers, plan_limits& limits);

  /// `moves`: of all layers together.
  void spend(std::int64_t moves);

 private:
  std::int64_t moves_ = 0;
  std::int64_t epochs_ = 1;
  std::int64_t saved_ = -1;  // of all layers; -1: before the first epoch
};

}  // namespace ballast
