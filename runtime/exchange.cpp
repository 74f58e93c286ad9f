#include "runtime/exchange.hpp"

#include <algorithm>

namespace ballast {

rank_operations operations_of_rank(const schedule& schedule, int rank) {
  rank_operations mine;
  mine.first_of_batch.push_back(0);
  for (const batch& b : schedule.batches) {
    const std::size_t first = mine.operations.size();
    for (std::int32_t m = b.first_move; m < b.first_move + b.move_count; ++m) {
      const scheduled_move& move = schedule.moves[m];
      if (move.source_rank == rank && move.target_rank == rank) {
        mine.operations.push_back({m, move.round, rank, operation_kind::copy});
      } else if (move.source_rank == rank) {
        mine.operations.push_back({m, move.round, move.target_rank, operation_kind::send});
      } else if (move.target_rank == rank) {
        mine.operations.push_back({m, move.round, move.source_rank, operation_kind::receive});
      }
    }
    std::ranges::stable_sort(mine.operations.begin() + first, mine.operations.end(), {},
                             &rank_operation::round);
    mine.first_of_batch.push_back(static_cast<std::int32_t>(mine.operations.size()));
  }
  return mine;
}

weight_location landing_of(const scheduled_move& move, int batch, int rows_per_rank) {
  if (move.way == move_way::staged) return {move.staging_row, batch % 2};
  return {move.target_slot - move.target_rank * rows_per_rank, -1};
}

weight_location source_of(const schedule& steps, const scheduled_move& move, int batch,
                          int rows_per_rank) {
  if (move.forwards >= 0) return landing_of(steps.moves[move.forwards], batch, rows_per_rank);
  return {move.source_slot - move.source_rank * rows_per_rank, -1};
}

}  // namespace ballast
