#pragma once
// What the benchmarks of routing share: a placement with replicas of unequal shares, and a judge of
// the slots that were chosen.

#include <cmath>
#include <cstdint>
#include <vector>

#include "jobs/mpi_session.hpp"

namespace ballast {

inline constexpr std::int32_t share_total = 65536;
inline constexpr const char* route_mode_names[] = {"shares", "local", "round_robin", "uniform",
                                                   "rank_invariant"};

// Half as many slots again as experts. The low half of the experts has two replicas, with a quarter
// and three quarters of the tokens.
struct routed_placement {
  std::vector<std::int32_t> experts;
  std::vector<std::int32_t> shares;
  std::int32_t slots_per_rank;
};

inline routed_placement make_placement(std::int32_t experts, int ranks) {
  routed_placement p;
  const std::int32_t twice = std::max(1, experts / 2);
  p.slots_per_rank = (experts + twice + ranks - 1) / ranks;
  p.experts.assign(static_cast<std::size_t>(p.slots_per_rank) * ranks, -1);
  p.shares.assign(p.experts.size(), 0);
  for (std::int32_t slot = 0; slot < experts + twice; ++slot) {
    p.experts[slot] = slot % experts;
    p.shares[slot] = slot >= experts ? share_total / 4 * 3
                     : slot < twice  ? share_total / 4
                                     : share_total;
  }
  return p;
}

/// A context of one layer that only routes. Keeps pointers into `placement`.
inline ballast_config route_config(const routed_placement& placement, std::int32_t experts,
                                   int ranks) {
  ballast_config config;
  ballast_config_init(&config);
  config.experts = experts;
  config.slots_per_rank = placement.slots_per_rank;
  config.mode = BALLAST_MODE_STATIC;
  config.compatible =
      ranks == 1;  // both replicas on the one rank, which no other placement may have
  config.placement = placement.experts.data();
  config.shares = placement.shares.data();
  return config;
}

class route_judge {
 public:
  route_judge(const mpi_session& mpi, ballast_context* context, std::int32_t experts)
      : mpi_(mpi), experts_(experts) {
    tables_.struct_size = sizeof(tables_);
    check(ballast_tables(context, 0, &tables_));
    check(ballast_shape(context, nullptr, nullptr, nullptr, &rows_per_rank_));
  }

  /// Ids whose slot holds another expert, or is far where a near one is to be preferred; and tokens
  /// beyond what a replica's share allows.
  template <typename Id>
  std::int64_t wrong(const std::vector<Id>& ids, const std::vector<Id>& slots, int mode) const {
    const std::int32_t slot_count = rows_per_rank_ * mpi_.size();
    std::vector<std::int64_t> of_slot(static_cast<std::size_t>(slot_count), 0);
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Id slot = slots[i];
      if (slot < 0 || slot >= slot_count || tables_.expert_of_slot[slot] != ids[i]) {
        ++wrong;
      } else {
        ++of_slot[static_cast<std::size_t>(slot)];
      }
    }
    for (std::int32_t expert = 0; expert < experts_; ++expert)
      wrong += mode == BALLAST_ROUTE_LOCAL ? far(expert, of_slot) : uneven(expert, of_slot, mode);
    return wrong;
  }

 private:
  std::int64_t far(std::int32_t expert, const std::vector<std::int64_t>& of_slot) const {
    std::int64_t here = 0;
    std::int64_t elsewhere = 0;
    bool has_here = false;
    for (std::int32_t k = tables_.replica_first[expert]; k < tables_.replica_first[expert + 1];
         ++k) {
      const std::int32_t slot = tables_.replica_slot[k];
      const bool is_here = slot / rows_per_rank_ == mpi_.rank();
      has_here |= is_here;
      (is_here ? here : elsewhere) += of_slot[slot];
    }
    return has_here ? elsewhere : 0;
  }

  // Six standard deviations of independent draws, and two tokens for small numbers. Round robin and
  // uniform know no shares.
  std::int64_t uneven(std::int32_t expert, const std::vector<std::int64_t>& of_slot,
                      int mode) const {
    const std::int32_t first = tables_.replica_first[expert];
    const std::int32_t end = tables_.replica_first[expert + 1];
    double tokens = 0;
    for (std::int32_t k = first; k < end; ++k)
      tokens += static_cast<double>(of_slot[tables_.replica_slot[k]]);
    const bool equal = mode == BALLAST_ROUTE_ROUND_ROBIN || mode == BALLAST_ROUTE_UNIFORM;
    std::int64_t wrong = 0;
    for (std::int32_t k = first, before = 0; k < end; before = tables_.replica_share_end[k++]) {
      const double part =
          equal ? 1.0 / (end - first)
                : (tables_.replica_share_end[k] - before) / static_cast<double>(share_total);
      const double bound = 6 * std::sqrt(tokens * part * (1 - part)) + 2;
      const double excess =
          std::abs(static_cast<double>(of_slot[tables_.replica_slot[k]]) - tokens * part) - bound;
      if (excess > 0) wrong += static_cast<std::int64_t>(excess) + 1;
    }
    return wrong;
  }

  const mpi_session& mpi_;
  std::int32_t experts_;
  ballast_layer_tables tables_;
  std::int32_t rows_per_rank_ = 0;
};

// Ranks whose slots differ from rank 0's.
template <typename Id>
std::int64_t differs_from_rank_0(const mpi_session& mpi, const std::vector<Id>& slots) {
  std::vector<Id> first = slots;
  MPI_Bcast(first.data(), static_cast<int>(first.size() * sizeof(Id)), MPI_BYTE, 0, mpi.comm());
  return first != slots;
}

}  // namespace ballast
