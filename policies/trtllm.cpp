#include "policies/trtllm.hpp"

#include <algorithm>
#include <numeric>

#include "policies/spread_rule.hpp"
#include "policies/units.hpp"

namespace ballast {

namespace {

__extension__ typedef unsigned __int128 uint128;

}  // namespace

void trtllm_policy::choose_counts(std::span<const std::int64_t> loads) {
  const auto experts = static_cast<std::int64_t>(loads.size());
  if (std::all_of(loads.begin(), loads.end(), [](std::int64_t load) { return load == 0; })) {
    const std::int64_t slots =
        shape_.compatible
            ? std::accumulate(shape_.capacity.begin(), shape_.capacity.end(), std::int64_t{0})
            : spread_rule(shape_.capacity, static_cast<int>(experts)).total();
    counts_.assign(loads.size(), static_cast<std::int32_t>(slots / experts));
    for (std::int64_t expert = 0; expert < slots % experts; ++expert) ++counts_[expert];
    return;
  }
  // The chooser prefers the lowest id among equals; seen from the other end that is the highest.
  mirrored_.assign(loads.rbegin(), loads.rend());
  if (shape_.compatible) {
    replicas_.choose(mirrored_, sorter_.sort(mirrored_), shape_.capacity);
  } else {
    replicas_.choose_apart(mirrored_, sorter_.sort(mirrored_), shape_.capacity);
  }
  counts_.assign(replicas_.counts().rbegin(), replicas_.counts().rend());
}

void trtllm_policy::plan_layer(const layer_question& question,
                               std::span<std::int32_t> expert_of_slot) {
  const auto loads = question.loads();
  const slot_layout& layout = question.layout();
  std::fill(expert_of_slot.begin(), expert_of_slot.end(), no_expert);
  choose_counts(loads);
  order_.resize(loads.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
    return static_cast<uint128>(loads[a]) * static_cast<std::uint32_t>(counts_[b]) >
           static_cast<uint128>(loads[b]) * static_cast<std::uint32_t>(counts_[a]);
  });
  const std::uint64_t total =
      static_cast<std::uint64_t>(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}));
  const unit_scale scale(total, rank_packer::unit_bits(layout.ranks()));
  units_.resize(loads.size());
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    units_[expert] = scale.unit(loads[expert], counts_[expert]);
  }
  first_.resize(static_cast<std::size_t>(layout.ranks()));
  for (int rank = 0; rank < layout.ranks(); ++rank) first_[rank] = layout.first(rank);
  packer_.start(shape_.capacity, first_, expert_of_slot);
  for (const std::int32_t expert : order_) {
    if (!shape_.compatible) {
      packer_.add_apart(expert, counts_[expert], units_);
      continue;
    }
    for (std::int32_t replica = 0; replica < counts_[expert]; ++replica) {
      packer_.add(expert, units_[expert]);
    }
  }
}

}  // namespace ballast
