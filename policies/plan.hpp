#pragma once
// The planner's question and answer: loads, current placement, cluster map and limits in; the next
// placement, what it buys and a digest out. Pure: the same request gives the same plan bytes on any
// machine, compiler and number of threads.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "policies/placement.hpp"
#include "policies/plugin.hpp"
#include "policies/speeds.hpp"
#include "topology/cluster_map.hpp"

namespace ballast {

/// What a plan may spend; -1 means no limit.
struct plan_limits {
  std::int64_t max_moves_per_layer = -1;
  std::int64_t max_bytes_per_rank = -1;  ///< received by one rank in one epoch
  std::int64_t max_moves_total = -1;     ///< of all layers together in one epoch
  /// Received over links of one class in one epoch, from the nearest rank that has the expert now.
  std::array<std::int64_t, link_class_count> max_bytes_per_link = {-1, -1, -1, -1};
};

/// What is evened out over the ranks.
enum class plan_objective : std::uint8_t {
  tokens,      ///< the tokens a rank computes
  activations  ///< the experts a rank reads in a pass (activations.hpp)
};

struct plan_request {
  std::span<const std::int64_t>
      loads;  ///< [layers, experts], tokens, each in [0, 2^62], a layer's sum too
  std::span<const std::int64_t>
      series;  ///< [windows, layers, experts], oldest first: what `loads` were estimated from, for
               ///< policies that look at its variation; limits as for loads. Under `flow` with
               ///< deviations the fullest rank of its last window should not come out fuller for
               ///< the sake of what may come. Empty: not known
  std::span<const std::int64_t>
      deviations;  ///< [samples, layers, experts], tokens, each in [-2^62, 2^62]: by how much loads
                   ///< have differed from such estimates (prediction.hpp). `flow` then evens out
                   ///< what loads may become. Empty: not known
  const placement* current = nullptr;  ///< not owned; layers, experts and slot layout come from it
  const cluster_map* cluster = nullptr;  ///< not owned; one entry per rank of the layout
  std::vector<std::int32_t>
      usable_slots;  ///< per rank, how many slots may be occupied; empty: all of the layout's
  std::vector<std::int32_t>
      slots_per_layer;  ///< per layer, at most how many slots of any rank may be occupied, whatever
                        ///< usable_slots says of the rank. Empty: no more than that is said
  std::int32_t spare_rows = 0;  ///< with slots_per_layer: a layer has so many rows on every rank
                                ///< beyond them that may be written, and no others
  std::vector<std::uint8_t>
      masked_ranks;  ///< per rank, nonzero: dead; a target leaves it empty, and what that takes is
                     ///< done whatever the limits. Empty: none
  std::vector<std::int32_t>
      rank_speed;  ///< per rank, in [1, 65536]: the fullest rank is the one with most load over
                   ///< speed, and loads of ranks are reported as levels (speeds.hpp). `flow` plans
                   ///< by it. Empty: all the same
  plan_objective objective = plan_objective::tokens;
  std::int64_t passes = 0;    ///< objective activations: how many forward passes the loads cover;
                              ///< 0: the loads are not tokens but passes with a token
  bool equal_shares = false;  ///< `flow` only: tokens split equally over an expert's replicas
  bool cold_start = false;  ///< `flow` only: no weights are in place yet, so moves cost nothing and
                            ///< any gain is worth them
  std::string policy = "static";          ///< a name of policy_names(), or that of `plugin`
  const plugin_policy* plugin = nullptr;  ///< not owned; if given, it plans (plugin.hpp)
  bool compatible = false;  ///< the published rules to the letter, of a policy that has them:
                            ///< duplicates on a rank, slots in published order; policies that plan
                            ///< from nothing then need a uniform layout and use all slots of a rank
                            ///< or none
  std::int32_t groups = 1;  ///< of experts, for hierarchical planning
  std::uint64_t seed = 1;   ///< `random` only
  std::int32_t threads = 1;
  std::int64_t expert_bytes = 0;  ///< all tensors of one expert; prices moves
  plan_limits limits;
};

struct layer_outcome {
  scaled_load total = 0;       ///< of all ranks
  scaled_load max_before = 0;  ///< of the fullest rank under the current placement and its shares
  scaled_load max_after = 0;
  scaled_load risk_before = 0;  ///< of the fullest rank, with what deviations may add to it; as
  scaled_load risk_after = 0;   ///< max_before and max_after where none are given
  scaled_load bound = 0;        ///< no placement that the policy may choose has a smaller maximum
                          ///< (balance.hpp): with equal shares where the current shares are equal,
                          ///< with free shares elsewhere and under `flow`; of the best dealing of
                          ///< the groups where the policy keeps them on nodes
  std::int32_t moves = 0;  ///< slots that receive an expert their rank does not hold now
};

/// An expert that only masked ranks hold: its weights have to come from elsewhere.
struct lost_expert {
  std::int32_t layer = 0;
  std::int32_t expert = 0;

  friend bool operator==(const lost_expert&, const lost_expert&) = default;
};

struct plan {
  placement target;                   ///< versions as in the current placement
  std::vector<std::int32_t> changed;  ///< layers whose experts or shares differ, ascending
  std::vector<layer_outcome> layers;  ///< [layers]
  std::int32_t living_ranks = 0;      ///< not masked; what the mean rank load is taken over
  std::vector<lost_expert> lost;      ///< by layer, then expert; the target hosts them
  std::uint64_t digest = 0;           ///< of the request and the target

  std::int64_t moves() const;
  double balance_before() const;  ///< sum of mean rank loads / sum of max rank loads; 1 when idle
  double balance_after() const;
  double balance_bound() const;
  double gap() const;  ///< sum max_after / sum bound - 1
};

/// The policies by name: "static", "random", "flow", "deepseek", "deepseek-hierarchical",
/// "deepseek-global", "deepseek-vec", "trtllm", "swift", "flash".
std::span<const char* const> policy_names();

/// Empty if the policy can plan this request, otherwise one line that names the field and the
/// value: unknown policy, negative or overflowing load (layer and expert), fewer usable slots than
/// experts, groups that do not divide, slots that a hierarchical policy cannot deal out evenly, a
/// current placement that is illegal (two replicas on one rank are allowed). Cheap; `decide` calls
/// it too.
std::string why_unplannable(const plan_request& request);

/// Plans every layer: all of the plan but `total` and `bound` of its layers. This is the planning
/// that has to be fast. Throws std::invalid_argument with why_unplannable's text.
///
/// Unless `compatible`, a target never holds an expert twice on a rank, occupies only usable slots
/// and, under a hierarchical policy, has every group on one node; an expert that stays on its rank
/// keeps its slot, and a layer whose planned maximum (with deviations: risk) is not below its
/// current one is kept (unless that would break the rules just named). `static` keeps every layer
/// as it is, but for what masked ranks hold; `flow` keeps the same rules, and plans within the
/// limits instead of being cut off by them. `random` swaps slots whatever that does to the balance.
/// A layer kept by `limits` is kept in any case, again but for what masked ranks hold.
plan decide(const plan_request& request);

/// Fills in `total` and `bound` of a decided plan's layers.
void report(const plan_request& request, plan& decided);

/// `decide`, then `report`.
plan make_plan(const plan_request& request);

}  // namespace ballast
