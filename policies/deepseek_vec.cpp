#include "policies/deepseek_vec.hpp"

#include <algorithm>
#include <numeric>

#include "policies/spread_rule.hpp"
#include "policies/units.hpp"

namespace ballast {

namespace {

__extension__ typedef unsigned __int128 uint128;

constexpr int size_bits = 62;  // of a window's total

}  // namespace

deepseek_vec_policy::deepseek_vec_policy(const deepseek_shape& shape) : shape_(shape) {
  for (std::size_t rank = 0; rank < shape_.capacity.size(); ++rank) {
    if (shape_.capacity[rank] == 0) continue;
    ranks_.push_back(static_cast<std::int32_t>(rank));
    capacity_.push_back(shape_.capacity[rank]);
  }
  all_experts_.resize(static_cast<std::size_t>(shape_.experts));
  std::iota(all_experts_.begin(), all_experts_.end(), 0);
}

void deepseek_vec_policy::plan_layer(const layer_question& question,
                                     std::span<std::int32_t> expert_of_slot) {
  question_ = &question;
  const slot_layout& layout = question.layout();
  std::fill(expert_of_slot.begin(), expert_of_slot.end(), no_expert);
  first_slot_.clear();
  for (const std::int32_t rank : ranks_) first_slot_.push_back(layout.first(rank));
  std::span<const std::int32_t> experts = all_experts_;
  if (shape_.groups > 1) {
    groups_.deal(question.loads(), shape_.groups, shape_.nodes, false);
    experts = groups_.experts();
  }
  const auto nodes = static_cast<std::size_t>(shape_.nodes);
  const std::size_t node_experts = experts.size() / nodes;
  const std::size_t node_ranks = ranks_.size() / nodes;
  for (std::size_t node = 0; node < nodes; ++node) {
    plan_node(experts.subspan(node * node_experts, node_experts),
              std::span(capacity_).subspan(node * node_ranks, node_ranks),
              std::span(first_slot_).subspan(node * node_ranks, node_ranks), layout,
              expert_of_slot);
  }
}

void deepseek_vec_policy::plan_node(std::span<const std::int32_t> experts,
                                    std::span<const std::int32_t> capacity,
                                    std::span<const std::int32_t> first_slot,
                                    const slot_layout& layout,
                                    std::span<std::int32_t> expert_of_slot) {
  const int windows = std::max(question_->windows(), 1);
  loads_.clear();
  sums_.clear();
  for (int window = 0; window < windows; ++window) {
    const auto all = question_->windows() == 0 ? question_->loads() : question_->window(window);
    for (const std::int32_t expert : experts) loads_.push_back(all[expert]);
  }
  for (const std::int32_t expert : experts) sums_.push_back(question_->loads()[expert]);
  choose_counts(experts.size(), capacity);
  order_by_weight();
  if (shape_.compatible) {
    deal(first_slot, capacity[0], expert_of_slot);
  } else {
    const auto total = std::accumulate(sums_.begin(), sums_.end(), std::int64_t{0});
    const unit_scale scale(static_cast<std::uint64_t>(total),
                           rank_packer::unit_bits(static_cast<int>(capacity.size())));
    units_.resize(experts.size());
    for (std::size_t i = 0; i < experts.size(); ++i) units_[i] = scale.unit(sums_[i], counts_[i]);
    // Further replicas go with the first, whose number is the expert's.
    std::erase_if(order_, [&](std::int32_t replica) {
      return replica >= static_cast<std::int32_t>(experts.size());
    });
    packer_.pack(capacity, first_slot, order_, counts_, units_, expert_of_slot);
  }
  for (std::size_t rank = 0; rank < capacity.size(); ++rank) {
    const int owner = layout.rank_of(first_slot[rank]);
    for (int slot = first_slot[rank]; slot < layout.first(owner + 1); ++slot) {
      if (expert_of_slot[slot] != no_expert) expert_of_slot[slot] = experts[expert_of_slot[slot]];
    }
  }
}

void deepseek_vec_policy::choose_counts(std::size_t experts,
                                        std::span<const std::int32_t> capacity) {
  std::int64_t fullest = 0;
  for (std::size_t first = 0; first < loads_.size(); first += experts) {
    fullest = std::max(fullest, std::accumulate(loads_.begin() + first,
                                                loads_.begin() + first + experts, std::int64_t{0}));
  }
  const unit_scale scale(static_cast<std::uint64_t>(fullest), size_bits);
  sizes_.resize(loads_.size());
  for (std::size_t i = 0; i < loads_.size(); ++i) sizes_[i] = scale.unit(loads_[i], 1);
  counts_.assign(experts, 1);
  replicas_.resize(experts);
  std::iota(replicas_.begin(), replicas_.end(), 0);
  spread_rule rule(capacity, static_cast<int>(experts));
  std::vector<std::uint8_t> full(experts, 0);
  std::int64_t extra =
      (shape_.compatible ? std::accumulate(capacity.begin(), capacity.end(), std::int64_t{0})
                         : rule.total()) -
      static_cast<std::int64_t>(experts);
  while (extra > 0) {
    const std::int32_t expert = most_relieving(experts, full);
    if (expert < 0) break;
    if (!shape_.compatible && !rule.grow(counts_[expert])) {
      full[expert] = 1;
      continue;
    }
    ++counts_[expert];
    replicas_.push_back(expert);
    for (std::size_t i = expert; i < loads_.size(); i += experts) {
      sizes_[i] = scale.unit(loads_[i], counts_[expert]);
    }
    --extra;
  }
}

/// The expert, not `full`, whose next replica lowers the sum over windows of the largest replica
/// most; -1 if all are full.
std::int32_t deepseek_vec_policy::most_relieving(std::size_t experts,
                                                 std::span<const std::uint8_t> full) const {
  struct relief {
    uint128 amount = 0;
    std::int32_t windows = 0;
  };
  std::vector<relief> reliefs(experts);
  const auto heavier = [&](std::span<const std::uint64_t> sizes, std::size_t a, std::size_t b) {
    return sizes[a] != sizes[b] ? sizes[a] > sizes[b]
                                : static_cast<std::int64_t>(a) * counts_[b] >
                                      static_cast<std::int64_t>(b) * counts_[a];
  };
  for (std::size_t first = 0; first < loads_.size(); first += experts) {
    const auto sizes = std::span(sizes_).subspan(first, experts);
    std::size_t heaviest = experts;
    std::size_t second = experts;
    for (std::size_t expert = 0; expert < experts; ++expert) {
      if (full[expert]) continue;
      if (heaviest == experts || heavier(sizes, expert, heaviest)) {
        second = heaviest;
        heaviest = expert;
      } else if (second == experts || heavier(sizes, expert, second)) {
        second = expert;
      }
    }
    if (heaviest == experts) return -1;
    // What is left of the heaviest after one more replica, but for rounding.
    const auto count = static_cast<std::uint64_t>(counts_[heaviest]);
    const auto smaller =
        static_cast<std::uint64_t>(static_cast<uint128>(sizes[heaviest]) * count / (count + 1));
    const std::uint64_t next = second == experts ? smaller : std::max(smaller, sizes[second]);
    reliefs[heaviest].amount += sizes[heaviest] - std::min(next, sizes[heaviest]);
    ++reliefs[heaviest].windows;
  }
  const auto best =
      std::max_element(reliefs.begin(), reliefs.end(), [](const relief& a, const relief& b) {
        return a.amount != b.amount ? a.amount < b.amount : a.windows < b.windows;
      });
  return static_cast<std::int32_t>(best - reliefs.begin());
}

/// Replicas by load / count, then in the order they were given.
void deepseek_vec_policy::order_by_weight() {
  order_.resize(replicas_.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::stable_sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
    const std::int32_t x = replicas_[a];
    const std::int32_t y = replicas_[b];
    return static_cast<uint128>(sums_[x]) * static_cast<std::uint32_t>(counts_[y]) >
           static_cast<uint128>(sums_[y]) * static_cast<std::uint32_t>(counts_[x]);
  });
}

/// One to each rank, then one to each in the other direction, and so on.
void deepseek_vec_policy::deal(std::span<const std::int32_t> first_slot, std::int32_t per_rank,
                               std::span<std::int32_t> expert_of_slot) {
  const std::size_t ranks = first_slot.size();
  for (std::int32_t row = 0; row < per_rank; ++row) {
    for (std::size_t i = 0; i < ranks; ++i) {
      const std::size_t rank = row % 2 == 0 ? i : ranks - 1 - i;
      expert_of_slot[first_slot[rank] + row] = replicas_[order_[row * ranks + i]];
    }
  }
}

}  // namespace ballast
