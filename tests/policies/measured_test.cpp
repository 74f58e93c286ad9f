#include "policies/measured.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "tests/policies/scenario.hpp"

namespace ballast {
namespace {

using longs = std::vector<std::int64_t>;

/// Two layers of four experts; rank r holds experts 2 r and 2 r + 1 of both.
placement two_ranks() {
  const std::vector<std::int32_t> usable = {2, 2};
  placement place = initial_placement(2, 4, slot_layout::uniform(2, 2), usable);
  for (int layer = 0; layer < 2; ++layer) {
    for (int slot = 0; slot < 4; ++slot) place.experts_of(layer)[slot] = slot;
  }
  return place;
}

const longs loads = {100, 200, 30, 70, 0, 100, 50, 50};  // 400 tokens on rank 0, 200 on rank 1

TEST(measured_token_ps, is_the_mean_of_the_slowest_rank) {
  const placement place = two_ranks();
  EXPECT_EQ(measured_token_ps({loads, 1}, place, {}, longs{800, 300}), 2000);
  EXPECT_EQ(measured_token_ps({loads, 10}, place, {}, longs{800, 300}), 20000) << "40 per pass";
  EXPECT_EQ(measured_token_ps({loads, 1}, place, {}, longs{100, 300}), 1500);
  EXPECT_EQ(measured_token_ps({loads, 1}, place, {}, longs{300, 300}), 750) << "the lowest of two";
}

TEST(measured_token_ps, passes_over_ranks_that_told_nothing_or_had_nothing_to_do) {
  const placement place = two_ranks();
  EXPECT_EQ(measured_token_ps({loads, 1}, place, {}, longs{0, 0}), 0);
  EXPECT_EQ(measured_token_ps({loads, 1}, place, {}, longs{0, 20}), 100);
  const longs idle = {0, 0, 30, 70, 0, 0, 50, 50};
  EXPECT_EQ(measured_token_ps({idle, 1}, place, {}, longs{900, 20}), 100);
  EXPECT_EQ(measured_token_ps({longs(8, 0), 1}, place, {}, longs{900, 20}), 0);
}

TEST(measured_token_ps, counts_shares_or_whole_experts) {
  placement place = two_ranks();
  for (int layer = 0; layer < 2; ++layer) {
    const auto experts = place.experts_of(layer);
    const auto shares = place.shares_of(layer);
    experts[1] = 3;  // expert 3 on both ranks; nobody holds expert 1 here
    shares[1] = share_one / 2;
    shares[3] = share_one / 2;
  }
  // Rank 0: 100 + 0 of expert 0, half of 70 + 50 of expert 3.
  EXPECT_EQ(measured_token_ps({loads, 1}, place, {}, longs{160, 1}), 1000);
  EXPECT_EQ(measured_token_ps({loads, 1, true}, place, {}, longs{220, 1}), 1000);
}

TEST(measured_token_ps, is_of_a_rank_of_mean_speed) {
  const std::vector<std::int32_t> speeds = {3, 1};
  const speed_scale scale{speeds, 4, 2};
  // 200 tokens on rank 1 of half the mean speed are as 400 on one of mean speed.
  EXPECT_EQ(measured_token_ps({loads, 1}, two_ranks(), scale, longs{1, 800}), 2000);
}

TEST(measured_token_ps, stays_within_its_limits) {
  constexpr std::int64_t most = std::int64_t{1} << 62;
  const longs heavy = {most, 0, 0, 0, most, 0, 0, 0};
  EXPECT_EQ(measured_token_ps({heavy, 1}, two_ranks(), {}, longs{1, 0}), 1);
  EXPECT_EQ(measured_token_ps({loads, most}, two_ranks(), {}, longs{most, 0}), token_ps_max);
}

TEST(measured_link_costs, are_time_over_bytes_where_there_were_any) {
  link_times links;
  links.bytes = {0, 3 << 20, 1 << 19, 1};
  links.ns = {5, 3000, 700, std::int64_t{1} << 62};
  EXPECT_EQ(measured_link_costs(links), (std::array<std::int64_t, 4>{0, 1000, 1400, 1ll << 40}));
}

}  // namespace
}  // namespace ballast
