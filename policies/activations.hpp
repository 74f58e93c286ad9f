#pragma once
// The objective of memory-bound decoding: not how many tokens a rank computes but how many experts
// it has to read, those with at least one token in the pass. Two replicas that share an expert's
// tokens are both read, so here an expert is served by one replica at a time, and the others stand
// by for the next plan.

#include <cstdint>
#include <span>
#include <vector>

#include "policies/plan.hpp"
#include "policies/request.hpp"

namespace ballast {

/// In how many of `passes` passes an expert has a token if `load` tokens fall into them at random:
/// passes * (1 - (1 - 1 / passes)^load), rounded, and at least 1 where there is load.
std::int64_t expected_activations(std::int64_t load, std::int64_t passes);

/// [layers, experts] of the request: its loads where passes is 0, expected_activations otherwise.
std::vector<std::int64_t> activations_of(const plan_request& request);

/// Gives all of an expert's tokens to one of its replicas, such that the fullest rank has few
/// activations: the most active expert first, each to the replica whose rank has least; then
/// experts of the fullest rank change to another replica, where need be making room there by one
/// more change.
class whole_server {
 public:
  /// `activations`: [experts]. `share_of_slot`: [slots], overwritten. Returns the fullest rank's
  /// activations.
  std::int64_t serve(std::span<const std::int64_t> activations, const slot_layout& layout,
                     std::span<const std::int32_t> expert_of_slot,
                     std::span<std::int32_t> share_of_slot);

 private:
  struct change {
    std::int32_t expert = -1;
    std::int32_t to = -1;  // slot
  };

  bool relieve(std::int64_t fullest);
  bool relieve_rank(int rank);
  bool make_room(int rank, std::int64_t needed, std::int64_t below);
  void move(std::int32_t expert, std::int32_t to);

  std::span<const std::int64_t> activations_;
  const slot_layout* layout_ = nullptr;
  replica_lists replicas_;
  std::vector<std::int32_t> order_;
  std::vector<std::int32_t> serving_;  // [experts] slot
  std::vector<std::int64_t> load_;     // [ranks]
  std::span<const std::int32_t> expert_of_slot_;
};

/// Turns a plan made for activations as if they could be split into one that serves every expert
/// whole, on the planned placement or, where that is as good, on the current one. Fills in
/// max_before and max_after: a replica with any share now counts as read. `static` is only
/// measured.
void serve_whole(const plan_request& request, const planning_tasks& tasks, plan& decided);

}  // namespace ballast
