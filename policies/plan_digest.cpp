#include "policies/plan_digest.hpp"

#include "policies/digest.hpp"

namespace ballast {

namespace {

void absorb_placement(digest_builder& digest, const placement& place) {
  for (int layer = 0; layer < place.layers(); ++layer) {
    digest.absorb(place.experts_of(layer));
    digest.absorb(place.shares_of(layer));
  }
}

/// What most requests leave as it is: each under a name of its own, and only if given.
void absorb_options(const plan_request& request, digest_builder& digest) {
  if (has_masked_ranks(request)) {
    for (const std::uint8_t dead : request.masked_ranks) digest.absorb(std::uint64_t{dead});
  }
  if (!request.rank_speed.empty()) {
    digest.absorb("rank_speed");
    digest.absorb(request.rank_speed);
  }
  if (!request.slots_per_layer.empty()) {
    digest.absorb("slots_per_layer");
    digest.absorb(request.slots_per_layer);
    digest.absorb(static_cast<std::uint64_t>(request.spare_rows));
  }
  if (request.equal_shares) digest.absorb("equal_shares");
  if (request.cold_start) digest.absorb("cold_start");
  if (!request.deviations.empty()) {
    digest.absorb("deviations");
    digest.absorb(request.deviations);
  }
  if (request.objective == plan_objective::activations) {
    digest.absorb("activations");
    digest.absorb(static_cast<std::uint64_t>(request.passes));
  }
  if (request.limits.max_moves_total >= 0) {
    digest.absorb("max_moves_total");
    digest.absorb(static_cast<std::uint64_t>(request.limits.max_moves_total));
  }
  if (request.limits.max_bytes_per_link != plan_limits().max_bytes_per_link) {
    digest.absorb("max_bytes_per_link");
    digest.absorb(request.limits.max_bytes_per_link);
  }
}

}  // namespace

std::uint64_t digest_of(const plan_request& request, const planning_tasks& tasks,
                        const placement& target) {
  digest_builder digest;
  const auto absorb = [&](std::int64_t value) { digest.absorb(static_cast<std::uint64_t>(value)); };
  absorb(target.layers());
  absorb(target.experts());
  absorb(target.layout().ranks());
  for (int rank = 0; rank < target.layout().ranks(); ++rank) absorb(target.layout().count(rank));
  digest.absorb(tasks.usable_slots);
  absorb_options(request, digest);
  digest.absorb(request.policy);
  absorb(request.compatible ? 1 : 0);
  absorb(request.groups);
  digest.absorb(request.seed);
  absorb(request.expert_bytes);
  absorb(request.limits.max_moves_per_layer);
  absorb(request.limits.max_bytes_per_rank);
  for (const rank_place& place : request.cluster->ranks) {
    const std::int32_t fields[] = {place.node, place.island, place.local_rank, place.package,
                                   place.numa, place.gpu,    place.nic};
    digest.absorb(fields);
  }
  digest.absorb(request.cluster->cost_ns_per_mib);
  digest.absorb(request.loads);
  if (!request.series.empty()) digest.absorb(request.series);
  absorb_placement(digest, *request.current);
  absorb_placement(digest, target);
  return digest.value();
}

}  // namespace ballast
