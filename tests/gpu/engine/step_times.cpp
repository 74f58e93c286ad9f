#include "tests/gpu/engine/step_times.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <utility>

namespace moe {
namespace {

constexpr const char* names[] = {"idle", "epoch in flight", "tables changed"};
using sorted_times = std::array<std::vector<float>, 3>;  ///< by step_kind

sorted_times sort_by_kind(const float* times, const int* kinds, std::size_t steps) {
  sorted_times sorted;
  for (std::size_t step = 0; step < steps; ++step) {
    sorted[kinds[step]].push_back(times[step]);
    if (kinds[step] == tables_changed) sorted[epoch_in_flight].push_back(times[step]);
  }
  for (std::vector<float>& t : sorted) std::sort(t.begin(), t.end());
  return sorted;
}

float at(const std::vector<float>& sorted, double part) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<std::size_t>(part * (sorted.size() - 1))];
}

void print_bar(const sorted_times& times, int percentile, double limit) {
  const double in_flight = at(times[epoch_in_flight], percentile / 100.0);
  const double without = at(times[idle], percentile / 100.0);
  std::printf("bar: p%d of steps with an epoch in flight, above idle, at most %g %%: ", percentile,
              limit);
  if (in_flight <= 0 || without <= 0) {
    std::printf("not measured, no such steps\n");
    return;
  }
  const double above = 100 * (in_flight / without - 1);
  std::printf("%s, %.2f %%\n", above <= limit ? "met" : "not met", above);
}

}  // namespace

void print_step_times(const std::vector<float>& times, const std::vector<int>& kinds,
                      MPI_Comm communicator) {
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(communicator, &rank);
  MPI_Comm_size(communicator, &ranks);
  const std::size_t steps = times.size();
  const int count = static_cast<int>(steps);
  std::vector<float> all_times(rank == 0 ? ranks * steps : 0);
  std::vector<int> all_kinds(all_times.size());
  MPI_Gather(times.data(), count, MPI_FLOAT, all_times.data(), count, MPI_FLOAT, 0, communicator);
  MPI_Gather(kinds.data(), count, MPI_INT, all_kinds.data(), count, MPI_INT, 0, communicator);
  if (rank != 0) return;

  int worst_rank = 0;
  sorted_times worst;
  for (int r = 0; r < ranks; ++r) {
    sorted_times t =
        sort_by_kind(all_times.data() + r * steps, all_kinds.data() + r * steps, steps);
    if (r > 0 && at(t[epoch_in_flight], 0.99) <= at(worst[epoch_in_flight], 0.99)) continue;
    worst_rank = r;
    worst = std::move(t);
  }
  std::printf("step times of rank %d, whose p99 with an epoch in flight is the highest of %d\n",
              worst_rank, ranks);
  for (int kind : {idle, epoch_in_flight, tables_changed}) {
    const std::vector<float>& t = worst[kind];
    if (t.empty()) continue;
    std::printf(
        "step us, %-15s n %6zu  min %9.1f  p10 %9.1f  p50 %9.1f  p90 %9.1f  p99 %9.1f  max "
        "%9.1f\n",
        names[kind], t.size(), t.front(), at(t, 0.1), at(t, 0.5), at(t, 0.9), at(t, 0.99),
        t.back());
  }
  print_bar(worst, 50, 1);
  print_bar(worst, 99, 5);
}

}  // namespace moe
