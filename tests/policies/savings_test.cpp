#include "policies/savings.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;

// Two layers of 8 experts on 4 ranks x 2 slots, expert e on rank e / 2.
constexpr int layers = 2;
constexpr int ranks = 4;

placement in_order() {
  return initial_placement(layers, 8, slot_layout::uniform(ranks, 2),
                           std::vector<std::int32_t>(ranks, 2));
}

const longs even(16, 10);
/// Balance 1/2 in both layers: rank 0 has half of all tokens.
const longs skewed = {50, 50, 20, 20, 10, 20, 10, 20, 50, 50, 20, 20, 10, 20, 10, 20};
const longs idle(16, 0);

TEST(savings, an_account_starts_full_and_a_full_account_gives_what_an_epoch_earns) {
  const placement place = in_order();
  move_savings account(3, 5);
  for (int epoch = 0; epoch < 10; ++epoch) EXPECT_EQ(account.open_epoch(even, place, ranks), 3);
  EXPECT_EQ(account.open_epoch(idle, place, ranks), 3);
}

TEST(savings, the_less_even_the_layers_the_more_may_be_moved) {
  const placement place = in_order();
  move_savings account(1, 10);
  EXPECT_EQ(account.open_epoch(skewed, place, ranks), 3);  // three eighths of 8 slots
  account.spend(3 * layers);
  EXPECT_EQ(account.open_epoch(even, place, ranks), 0);  // 8 of 10 saved: nothing would be lost
  EXPECT_EQ(account.open_epoch(even, place, ranks), 0);
  EXPECT_EQ(account.open_epoch(even, place, ranks), 1);
  const longs nearly = {25, 25, 20, 20, 20, 20, 20, 20, 25, 25, 20, 20, 20, 20, 20, 20};
  account.spend(5 * layers);
  EXPECT_EQ(account.open_epoch(nearly, place, ranks), 0);  // 0.85: 0.6 slots
  EXPECT_EQ(account.open_epoch(skewed, place, ranks), 3);
}

TEST(savings, what_is_spent_is_gone) {
  const placement place = in_order();
  move_savings account(1, 4);
  EXPECT_EQ(account.open_epoch(skewed, place, ranks), 3);
  account.spend(3 * layers);
  EXPECT_EQ(account.open_epoch(skewed, place, ranks), 2);  // 4 - 3 + 1
  account.spend(2 * layers);
  EXPECT_EQ(account.open_epoch(skewed, place, ranks), 1);
  account.spend(layers);
  EXPECT_EQ(account.open_epoch(skewed, place, ranks), 1);
}

TEST(savings, the_mean_over_any_epochs_is_what_they_earn_and_the_start) {
  const placement place = in_order();
  for (const int seed : {1, 2, 3, 4}) {
    testing::generator random(seed);
    for (const int rate : {0, 1, 2, 7}) {
      const int epochs = 1 + static_cast<int>(random.below(6));
      move_savings account(rate, epochs);
      std::int64_t spent = 0;
      for (int epoch = 0; epoch < 50; ++epoch) {
        longs loads;
        for (int i = 0; i < 16; ++i) loads.push_back(testing::log_normal_load(random));
        const std::int64_t most = account.open_epoch(loads, place, ranks);
        const auto moves =
            static_cast<std::int64_t>(random.below(static_cast<int>(most) * layers + 1));
        account.spend(moves);
        spent += moves;
        ASSERT_LE(spent, (epoch + epochs) * rate * layers) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace ballast
