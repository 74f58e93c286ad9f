#include "policies/assignment.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

constexpr std::int64_t no = assignment_solver::forbidden;

std::int64_t cost_of(const longs& costs, const ints& places) {
  std::int64_t sum = 0;
  for (std::size_t item = 0; item < places.size(); ++item) {
    const std::int64_t cost = costs[item * places.size() + static_cast<std::size_t>(places[item])];
    if (cost == no) return no;
    sum += cost;
  }
  return sum;
}

std::int64_t least_cost(const longs& costs, std::size_t count) {
  ints places(count);
  std::iota(places.begin(), places.end(), 0);
  std::int64_t least = no;
  do least = std::min(least, cost_of(costs, places));
  while (std::next_permutation(places.begin(), places.end()));
  return least;
}

TEST(assignment, none_of_all_orders_is_cheaper) {
  assignment_solver solver;
  for (unsigned seed = 1; seed <= 400; ++seed) {
    testing::generator random(seed);
    const auto count = static_cast<std::size_t>(random.below(7));
    longs costs(count * count);
    for (auto& cost : costs) cost = random.below(4) == 0 ? no : random.below(seed % 2 ? 3 : 1000);
    ints places(count, 7);
    const bool allowed = solver.solve(costs, places);
    const std::int64_t least = least_cost(costs, count);
    ASSERT_EQ(allowed, least < no) << "seed " << seed;
    ints sorted = places;
    std::ranges::sort(sorted);
    for (std::size_t i = 0; i < count; ++i)
      ASSERT_EQ(sorted[i], static_cast<std::int32_t>(i)) << "seed " << seed;
    ASSERT_EQ(cost_of(costs, places), least) << "seed " << seed;
  }
}

}  // namespace
}  // namespace ballast
