#include "runtime/rank_marks.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "policies/digest.hpp"
#include "runtime/error.hpp"

namespace ballast {

rank_marks read_rank_marks(const std::int32_t* speed, const std::uint8_t* masked, int ranks) {
  const auto refuse = [](const char* field, int rank, int value, int least, int most) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("{}[{}] is {}, expected {} to {}", field, rank, value, least, most));
  };
  rank_marks marks;
  if (speed != nullptr) marks.speed.assign(speed, speed + ranks);
  for (int rank = 0; speed != nullptr && rank < ranks; ++rank) {
    if (speed[rank] < 1 || speed[rank] > speed_max) {
      refuse("rank_speed", rank, speed[rank], 1, speed_max);
    }
  }
  if (masked == nullptr) return marks;
  for (int rank = 0; rank < ranks; ++rank) {
    if (masked[rank] > BALLAST_RANK_DRAINING) {
      refuse("masked_ranks", rank, masked[rank], BALLAST_RANK_SERVES, BALLAST_RANK_DRAINING);
    }
  }
  const auto serves = std::count(masked, masked + ranks, BALLAST_RANK_SERVES);
  if (serves == 0) throw error(BALLAST_ERROR_INVALID_ARGUMENT, "masked_ranks: no rank serves");
  if (serves == ranks) return marks;
  marks.masked.assign(masked, masked + ranks);
  for (const std::uint8_t mask : marks.masked) marks.gone.push_back(mask == BALLAST_RANK_GONE);
  return marks;
}

speed_scale rank_marks::scale(int ranks) const {
  if (speed.empty()) return {};
  speed_scale made = {speed, 0, 0};
  for (int rank = 0; rank < ranks; ++rank) {
    if (!masked.empty() && masked[rank] != BALLAST_RANK_SERVES) continue;
    made.sum += speed[rank];
    ++made.ranks;
  }
  return made;
}

bool rank_marks::occupied(const placement& current) const {
  if (masked.empty()) return false;
  for (int layer = 0; layer < current.layers(); ++layer) {
    const auto experts = current.experts_of(layer);
    for (int slot = 0; slot < current.slots(); ++slot) {
      if (experts[slot] != no_expert && masked[current.layout().rank_of(slot)] != 0) return true;
    }
  }
  return false;
}

std::vector<agreed_field> rank_marks::agreed_fields() const {
  digest_builder speeds;
  speeds.absorb(speed);
  digest_builder masks;
  masks.absorb(std::vector<std::int32_t>(masked.begin(), masked.end()));
  return {{"rank_speed (digest)", static_cast<std::int64_t>(speeds.value())},
          {"masked_ranks (digest)", static_cast<std::int64_t>(masks.value())}};
}

}  // namespace ballast
