#pragma once
// Whether moves pay: the time that a plan saves in every step against the time that its transfers
// take. Integers decide, in nanoseconds.

#include <array>
#include <cstdint>

#include "policies/plan.hpp"

namespace ballast {

inline constexpr std::int64_t ps_per_ns = 1000;  ///< picoseconds, of what a token costs

struct payback_terms {
  std::int64_t token_ps = 0;  ///< picoseconds that one more token on the fullest rank of a layer
                              ///< costs a step; 0: not known, and nothing is judged
  std::int64_t window_steps = 1;   ///< steps that the request's loads are the sum of
  std::int64_t horizon_steps = 0;  ///< moves that have not paid off after so many are not made; 0:
                                   ///< all are
  std::array<std::int64_t, link_class_count> link_ns_per_mib = {};  ///< 0: as in the cluster map
};

struct payback {
  std::int64_t saved_ns = 0;           ///< per step, by all of the plan
  std::int64_t saved_ns_by_moves = 0;  ///< of it: what shares alone do not save
  /// The longest that any rank receives over links of a class, from the nearest rank that has the
  /// expert now, and the longest that any receives in all. Ranks receive at the same time.
  std::array<std::int64_t, link_class_count> transfer_ns = {};
  std::int64_t transfer_ns_total = 0;
  std::int64_t steps = 0;  ///< until the moves have paid off; -1: never, or not known
  bool refused = false;  ///< the plan that the figures are of was dropped for one that only shares
                         ///< anew
};

/// What `made` saves and costs beside `reshared`, a plan for the same request that moves nothing.
payback pay_back(const plan_request& request, const plan& made, const plan& reshared,
                 const payback_terms& terms);

/// Fills in `result` for a decided and reported plan, and where its moves do not pay within the
/// horizon replaces it by the plan of the same policy that moves nothing.
void judge(const plan_request& request, const payback_terms& terms, plan& made, payback& result);

/// make_plan and judge. What masked ranks force is moved in any case.
plan make_paying_plan(const plan_request& request, const payback_terms& terms, payback& result);

}  // namespace ballast
