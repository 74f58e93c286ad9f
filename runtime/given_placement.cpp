#include "runtime/given_placement.hpp"

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace ballast {
namespace {

[[noreturn]] void reject(const std::string& why) {
  throw error(BALLAST_ERROR_INVALID_ARGUMENT, why);
}

}  // namespace

std::vector<std::int32_t> read_slots_per_layer(const std::int32_t* slots, std::int32_t layers,
                                               std::int32_t slots_per_rank, std::int32_t experts,
                                               int ranks) {
  if (slots == nullptr) return {};
  std::vector<std::int32_t> read(slots, slots + layers);
  for (std::int32_t layer = 0; layer < layers; ++layer) {
    const std::int32_t count = read[layer];
    if (count < 1 || count > slots_per_rank) {
      reject(fmt::format("slots_per_layer[{}] is {}, expected 1 to {} (slots_per_rank)", layer,
                         count, slots_per_rank));
    }
    if (static_cast<std::int64_t>(count) * ranks < experts) {
      reject(fmt::format("slots_per_layer[{}] is {}: on {} ranks fewer slots than {} experts",
                         layer, count, ranks, experts));
    }
  }
  return read;
}

placement read_placement(const given_placement& given, const slot_layout& layout,
                         std::span<const std::int32_t> usable) {
  if (given.expert_of_slot == nullptr) {
    if (given.shares != nullptr) reject("shares is given, expected no shares without a placement");
    return initial_placement(given.layers, given.experts, layout, usable, given.slots_per_layer);
  }
  placement p(given.layers, given.experts, layout);
  const std::size_t slots = static_cast<std::size_t>(given.slots_per_rank) * layout.ranks();
  for (int layer = 0; layer < given.layers; ++layer) {
    const std::int32_t* experts = given.expert_of_slot + layer * slots;
    for (std::size_t s = 0; s < slots; ++s) {
      if (experts[s] < no_expert || experts[s] >= given.experts) {
        reject(fmt::format("placement: layer {}, slot {} holds expert {}, expected -1 to {}", layer,
                           s, experts[s], given.experts - 1));
      }
      const int rank = static_cast<int>(s) / given.slots_per_rank;
      if (experts[s] != no_expert && !given.slots_per_layer.empty() &&
          static_cast<int>(s) % given.slots_per_rank >= given.slots_per_layer[layer]) {
        reject(
            fmt::format("placement: layer {}, slot {} holds expert {}, but the layer has {} "
                        "slots on a rank",
                        layer, s, experts[s], given.slots_per_layer[layer]));
      }
      const int row = layout.first(rank) + static_cast<int>(s) % given.slots_per_rank;
      p.experts_of(layer)[row] = experts[s];
      if (given.shares != nullptr) p.shares_of(layer)[row] = given.shares[layer * slots + s];
    }
    if (given.shares == nullptr)
      set_equal_shares(p.experts_of(layer), given.experts, p.shares_of(layer));
  }
  if (const std::string why = why_illegal(p, given.compatible); !why.empty())
    reject("placement: " + why);
  return p;
}

}  // namespace ballast
