#pragma once
// Which tokens go to which rank and in which order experts take them: what every rank works out
// from the slots that all ranks chose.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

struct dispatch_shape {
  int rank = 0;
  int ranks = 1;
  int rows_per_rank = 1;
  int columns = 1;  ///< slots of a token
};

/// The tokens of one expert of this rank: places [begin, end).
struct expert_batch {
  std::int32_t row = 0;
  std::int32_t begin = 0;
  std::int32_t end = 0;
};

struct dispatch_plan {
  /// What this rank sends, ordered by target rank: for each item the token.
  std::vector<std::int32_t> sent_token;
  /// For each of this rank's slots the item that goes there; -1 where the slot is -1.
  std::vector<std::int32_t> item_of_slot;
  std::vector<std::int32_t> sent_to;        ///< [ranks] items
  std::vector<std::int32_t> received_from;  ///< [ranks] items, received in the order of ranks
  /// Received items ordered by expert: the item at each place, and the place of each item.
  std::vector<std::int32_t> item_at_place;
  std::vector<std::int32_t> place_of_item;
  std::vector<expert_batch> batches;  ///< ascending in row, none empty

  /// `slots`: [ranks][tokens * columns], -1: nothing to do. Overwrites all fields.
  void make(std::span<const std::int32_t> slots, dispatch_shape shape);
};

}  // namespace ballast
