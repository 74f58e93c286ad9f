#include "policies/placement.hpp"

#include <algorithm>
#include <stdexcept>

namespace ballast {

namespace {

constexpr std::int64_t slots_max = std::int64_t{1} << 30;

std::string at_slot(int layer, int slot) {
  return "layer " + std::to_string(layer) + " slot " + std::to_string(slot);
}

std::string why_layer_illegal(const placement& candidate, int layer, bool allow_duplicates,
                              std::vector<std::int32_t>& share_sum,
                              std::vector<std::int32_t>& last_rank) {
  const slot_layout& layout = candidate.layout();
  const auto experts = candidate.experts_of(layer);
  const auto shares = candidate.shares_of(layer);
  std::fill(share_sum.begin(), share_sum.end(), 0);
  std::fill(last_rank.begin(), last_rank.end(), -1);
  for (int slot = 0; slot < layout.slots(); ++slot) {
    const std::int32_t expert = experts[slot];
    const std::int32_t share = shares[slot];
    if (expert < no_expert || expert >= candidate.experts()) {
      return at_slot(layer, slot) + ": expert " + std::to_string(expert) + " is not in [-1, " +
             std::to_string(candidate.experts()) + ")";
    }
    if (share < 0 || share > (expert == no_expert ? 0 : share_one)) {
      return at_slot(layer, slot) + ": share " + std::to_string(share) +
             (expert == no_expert ? " of an empty slot is not 0" : " is not in [0, 65536]");
    }
    if (expert == no_expert) continue;
    const int rank = layout.rank_of(slot);
    if (!allow_duplicates && last_rank[expert] == rank) {
      return at_slot(layer, slot) + ": expert " + std::to_string(expert) + " is twice on rank " +
             std::to_string(rank);
    }
    last_rank[expert] = rank;
    // Saturates one above share_one, so that the sum of many replicas cannot overflow.
    share_sum[expert] = std::min(share_sum[expert] + share, share_one + 1);
  }
  for (int expert = 0; expert < candidate.experts(); ++expert) {
    if (share_sum[expert] == share_one) continue;
    const std::string name = "layer " + std::to_string(layer) + " expert " + std::to_string(expert);
    if (last_rank[expert] < 0) return name + ": is in no slot";
    return name + ": shares sum to " + (share_sum[expert] > share_one ? "more than " : "") +
           std::to_string(std::min(share_sum[expert], share_one)) + ", not to 65536";
  }
  return {};
}

}  // namespace

slot_layout slot_layout::uniform(int ranks, int slots_per_rank) {
  if (ranks < 1) throw std::invalid_argument("ranks " + std::to_string(ranks) + " is less than 1");
  if (slots_per_rank < 1) {
    throw std::invalid_argument("slots per rank " + std::to_string(slots_per_rank) +
                                " is less than 1");
  }
  if (static_cast<std::int64_t>(ranks) * slots_per_rank > slots_max) {
    throw std::invalid_argument(std::to_string(ranks) + " ranks of " +
                                std::to_string(slots_per_rank) + " slots are more than 2^30 slots");
  }
  return ragged(std::vector<std::int32_t>(ranks, slots_per_rank));
}

slot_layout slot_layout::ragged(std::span<const std::int32_t> slots_per_rank) {
  if (slots_per_rank.empty()) throw std::invalid_argument("ranks 0 is less than 1");
  slot_layout layout;
  layout.first_.reserve(slots_per_rank.size() + 1);
  std::int64_t slots = 0;
  for (std::size_t rank = 0; rank < slots_per_rank.size(); ++rank) {
    if (slots_per_rank[rank] < 0) {
      throw std::invalid_argument("rank " + std::to_string(rank) + ": slots " +
                                  std::to_string(slots_per_rank[rank]) + " is negative");
    }
    slots += slots_per_rank[rank];
    if (slots > slots_max) {
      throw std::invalid_argument("the slots up to rank " + std::to_string(rank) +
                                  " are more than 2^30");
    }
    layout.first_.push_back(static_cast<std::int32_t>(slots));
  }
  layout.rank_of_.reserve(static_cast<std::size_t>(slots));
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    layout.rank_of_.insert(layout.rank_of_.end(), layout.count(rank), rank);
  }
  return layout;
}

bool slot_layout::is_uniform() const {
  for (int rank = 1; rank < ranks(); ++rank) {
    if (count(rank) != count(0)) return false;
  }
  return true;
}

placement::placement(int layers, int experts, slot_layout layout)
    : layers_(layers), experts_(experts), layout_(std::move(layout)) {
  if (layers < 1)
    throw std::invalid_argument("layers " + std::to_string(layers) + " is less than 1");
  if (experts < 1) {
    throw std::invalid_argument("experts " + std::to_string(experts) + " is less than 1");
  }
  const auto cells = static_cast<std::size_t>(layers) * static_cast<std::size_t>(layout_.slots());
  expert_of_slot_.assign(cells, no_expert);
  share_of_slot_.assign(cells, 0);
  versions_.assign(static_cast<std::size_t>(layers), 0);
}

std::span<std::int32_t> placement::experts_of(int layer) {
  const auto slots = static_cast<std::size_t>(layout_.slots());
  return std::span(expert_of_slot_).subspan(layer * slots, slots);
}

std::span<const std::int32_t> placement::experts_of(int layer) const {
  const auto slots = static_cast<std::size_t>(layout_.slots());
  return std::span(expert_of_slot_).subspan(layer * slots, slots);
}

std::span<std::int32_t> placement::shares_of(int layer) {
  const auto slots = static_cast<std::size_t>(layout_.slots());
  return std::span(share_of_slot_).subspan(layer * slots, slots);
}

std::span<const std::int32_t> placement::shares_of(int layer) const {
  const auto slots = static_cast<std::size_t>(layout_.slots());
  return std::span(share_of_slot_).subspan(layer * slots, slots);
}

placement initial_placement(int layers, int experts, const slot_layout& layout,
                            std::span<const std::int32_t> usable) {
  return initial_placement(layers, experts, layout, usable, {});
}

placement initial_placement(int layers, int experts, const slot_layout& layout,
                            std::span<const std::int32_t> usable,
                            std::span<const std::int32_t> slots_per_layer) {
  if (static_cast<int>(usable.size()) != layout.ranks()) {
    throw std::invalid_argument("usable slots are given for " + std::to_string(usable.size()) +
                                " ranks, there are " + std::to_string(layout.ranks()));
  }
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    if (usable[rank] < 0 || usable[rank] > layout.count(rank)) {
      throw std::invalid_argument("rank " + std::to_string(rank) + ": usable slots " +
                                  std::to_string(usable[rank]) + " are not in [0, " +
                                  std::to_string(layout.count(rank)) + "]");
    }
  }
  placement result(layers, experts, layout);
  for (int layer = 0; layer < layers; ++layer) {
    const auto expert_of_slot = result.experts_of(layer);
    std::int64_t filled = 0;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      const std::int32_t rows =
          slots_per_layer.empty() ? usable[rank] : std::min(usable[rank], slots_per_layer[layer]);
      for (int row = 0; row < rows; ++row, ++filled) {
        expert_of_slot[layout.first(rank) + row] = static_cast<std::int32_t>(filled % experts);
      }
    }
    if (filled < experts) {
      throw std::invalid_argument(
          (slots_per_layer.empty() ? "" : "layer " + std::to_string(layer) + ": ") +
          "usable slots " + std::to_string(filled) + " are fewer than experts " +
          std::to_string(experts));
    }
    set_equal_shares(expert_of_slot, experts, result.shares_of(layer));
  }
  return result;
}

void set_equal_shares(std::span<const std::int32_t> expert_of_slot, int experts,
                      std::span<std::int32_t> share_of_slot) {
  // Of each expert, no_expert among them: its replicas, then what each gets and how many get one
  // more. No branch hangs on the number of replicas, and no division either.
  struct part {
    std::int32_t share = 0;
    std::int32_t more = 0;
  };
  std::vector<std::int32_t> counts(static_cast<std::size_t>(experts) + 1, 0);
  std::int32_t* const count = counts.data() + 1;
  std::int32_t most = 1;
  for (const std::int32_t expert : expert_of_slot) {
    const std::int32_t replicas = ++count[expert];
    most = std::max(most, expert == no_expert ? 0 : replicas);
  }
  std::vector<part> of_count(static_cast<std::size_t>(most) + 1);
  for (std::int32_t n = 1; n <= most; ++n) of_count[n] = {share_one / n, share_one % n};
  std::vector<part> parts(static_cast<std::size_t>(experts) + 1);
  part* const of = parts.data() + 1;
  for (int expert = 0; expert < experts; ++expert) of[expert] = of_count[count[expert]];
  for (std::size_t slot = 0; slot < expert_of_slot.size(); ++slot) {
    part& left = of[expert_of_slot[slot]];
    const std::int32_t one = left.more > 0 ? 1 : 0;
    share_of_slot[slot] = left.share + one;
    left.more -= one;
  }
}

std::string why_illegal(const placement& candidate, bool allow_duplicates) {
  std::vector<std::int32_t> share_sum(static_cast<std::size_t>(candidate.experts()));
  std::vector<std::int32_t> last_rank(static_cast<std::size_t>(candidate.experts()));
  for (int layer = 0; layer < candidate.layers(); ++layer) {
    std::string why = why_layer_illegal(candidate, layer, allow_duplicates, share_sum, last_rank);
    if (!why.empty()) return why;
  }
  return {};
}

replica_lists list_replicas(std::span<const std::int32_t> expert_of_slot, int experts) {
  replica_lists lists;
  lists.first_replica.assign(static_cast<std::size_t>(experts) + 1, 0);
  for (const std::int32_t expert : expert_of_slot) {
    if (expert != no_expert) ++lists.first_replica[expert + 1];
  }
  for (int expert = 0; expert < experts; ++expert) {
    lists.first_replica[expert + 1] += lists.first_replica[expert];
  }
  lists.slot_of_replica.resize(static_cast<std::size_t>(lists.first_replica[experts]));
  std::vector<std::int32_t> next(lists.first_replica.begin(), lists.first_replica.end() - 1);
  for (std::size_t slot = 0; slot < expert_of_slot.size(); ++slot) {
    const std::int32_t expert = expert_of_slot[slot];
    if (expert != no_expert)
      lists.slot_of_replica[next[expert]++] = static_cast<std::int32_t>(slot);
  }
  return lists;
}

}  // namespace ballast
