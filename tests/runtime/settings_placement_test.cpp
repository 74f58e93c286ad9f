// Reading a configuration: the slots of layers, and placements and shares that are given.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/runtime/settings_cases.hpp"

namespace ballast {
namespace {

TEST(settings, slots_per_layer_are_checked_and_bound_the_placement) {
  static const std::int32_t few[] = {2, 1};
  static const std::int32_t many[] = {3, 2};
  static const std::int32_t good[] = {2, 2};
  EXPECT_EQ(refusal([](auto& c) { c.slots_per_layer = few; }),
            "slots_per_layer[1] is 1: on 4 ranks fewer slots than 6 experts");
  EXPECT_EQ(refusal([](auto& c) { c.slots_per_layer = many; }),
            "slots_per_layer[0] is 3, expected 1 to 2 (slots_per_rank)");
  ballast_config config = good_config();
  config.slots_per_rank = 3;
  config.spare_rows = 1;
  config.slots_per_layer = good;
  const settings s = settings::read(config, 4);
  EXPECT_EQ(s.rows_per_layer(), (std::vector<std::int32_t>{3, 3}));
  for (int slot = 0; slot < 16; ++slot) {
    EXPECT_EQ(s.initial.experts_of(1)[slot] == no_expert, slot % 4 >= 2) << slot;
  }
  std::vector<std::int32_t> placed(24, -1);
  for (int slot = 0; slot < 24; ++slot) placed[slot] = slot % 3 == 2 ? -1 : slot % 12 / 2 % 6;
  placed[12 + 5] = 4;  // layer 1, the third slot of rank 1
  EXPECT_NE(refusal([&](auto& c) {
              c.slots_per_rank = 3;
              c.slots_per_layer = good;
              c.placement = placed.data();
            }).find("placement: layer 1, slot 5 holds expert 4, but the layer has 2 slots"),
            std::string::npos);
}

TEST(settings, spare_rows_stay_empty_after_the_slots_of_each_rank) {
  ballast_config config = good_config();
  config.spare_rows = 3;
  const settings s = settings::read(config, 4);
  EXPECT_EQ(s.layout, slot_layout::uniform(4, 5));
  for (int slot = 0; slot < 20; ++slot)
    EXPECT_EQ(s.initial.experts_of(1)[slot] == no_expert, slot % 5 >= 2) << slot;
}

TEST(settings, given_placement_and_shares_are_laid_out_around_the_spare_rows) {
  ballast_config config = good_config();
  config.spare_rows = 1;
  const std::int32_t placement[] = {0, 1, 2, 3, 4, 5, 0, 1, 5, 4, 3, 2, 1, 0, -1, 5};
  const std::int32_t shares[] = {1, 2,     65536, 65536, 65536, 65536, 65535, 65534,
                                 5, 65536, 65536, 65536, 65536, 65536, 0,     65531};
  config.placement = placement;
  config.shares = shares;
  const settings s = settings::read(config, 4);
  for (int layer = 0; layer < 2; ++layer) {
    for (int rank = 0; rank < 4; ++rank) {
      for (int row = 0; row < 2; ++row) {
        EXPECT_EQ(s.initial.experts_of(layer)[3 * rank + row],
                  placement[8 * layer + 2 * rank + row]);
        EXPECT_EQ(s.initial.shares_of(layer)[3 * rank + row], shares[8 * layer + 2 * rank + row]);
      }
      EXPECT_EQ(s.initial.experts_of(layer)[3 * rank + 2], no_expert);
    }
  }
}

TEST(settings, bad_placements_are_refused_by_layer_slot_or_expert) {
  std::int32_t placement[] = {0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2, 3, 4, 5, 0, 1};
  const auto given = [&](ballast_config& c) { c.placement = placement; };
  ASSERT_EQ(refusal(given), "accepted");
  placement[11] = 6;
  EXPECT_EQ(refusal(given), "placement: layer 1, slot 3 holds expert 6, expected -1 to 5");
  placement[11] = -2;
  EXPECT_EQ(refusal(given), "placement: layer 1, slot 3 holds expert -2, expected -1 to 5");
  placement[11] = 2;
  EXPECT_EQ(refusal(given), "placement: layer 1 slot 3: expert 2 is twice on rank 1");
  placement[11] = 4;
  EXPECT_EQ(refusal(given), "placement: layer 1 expert 3: is in no slot");
}

TEST(settings, bad_shares_are_refused) {
  const std::int32_t placement[] = {0, 1, 2, 3, 4, 5, 0, -1};
  std::int32_t shares[] = {32768, 65536, 65536, 65536, 65536, 65536, 32768, 0};
  const auto given = [&](ballast_config& c) {
    c.layers = 1;
    c.placement = placement;
    c.shares = shares;
  };
  ASSERT_EQ(refusal(given), "accepted");
  shares[0] = 32767;
  EXPECT_EQ(refusal(given), "placement: layer 0 expert 0: shares sum to 65535, not to 65536");
  shares[0] = -1;
  EXPECT_EQ(refusal(given), "placement: layer 0 slot 0: share -1 is not in [0, 65536]");
  shares[0] = 32768;
  shares[7] = 1;
  EXPECT_EQ(refusal(given), "placement: layer 0 slot 7: share 1 of an empty slot is not 0");
  EXPECT_EQ(refusal([&](auto& c) { c.shares = shares; }),
            "shares is given, expected no shares without a placement");
}

TEST(settings, two_replicas_on_a_rank_need_compatible) {
  const std::int32_t placement[] = {0, 0, 1, 2, 3, 4, 5, 5};
  const auto given = [&](ballast_config& c) {
    c.layers = 1;
    c.placement = placement;
  };
  EXPECT_EQ(refusal(given), "placement: layer 0 slot 1: expert 0 is twice on rank 0");
  EXPECT_EQ(refusal([&](auto& c) {
              given(c);
              c.compatible = 1;
            }),
            "accepted");
}

TEST(settings, placements_that_differ_in_one_slot_or_share_are_told_apart) {
  std::int32_t placement[] = {0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2, 3, 4, 5, 0, 1};
  std::int32_t shares[16];
  ballast_config config = good_config();
  config.placement = placement;
  const auto digest = [&] { return settings::read(config, 4).agreed_fields().back().value; };
  const std::int64_t first = digest();
  std::swap(placement[9], placement[10]);
  EXPECT_NE(digest(), first);
  std::swap(placement[9], placement[10]);
  EXPECT_EQ(digest(), first);
  for (int s = 0; s < 16; ++s) shares[s] = placement[s] > 1 ? 65536 : 32768;
  config.shares = shares;
  EXPECT_EQ(digest(), first);
  shares[0] -= 1;
  shares[6] += 1;
  EXPECT_NE(digest(), first);
}

}  // namespace
}  // namespace ballast
