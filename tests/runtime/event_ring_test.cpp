// The ring of protocol events, and the text of troubles: what a dump shows when ranks fall silent.
#include "runtime/event_ring.hpp"

#include <gtest/gtest.h>

#include "runtime/trouble.hpp"

namespace ballast {
namespace {

TEST(event_ring, new_ring_has_no_lines) { EXPECT_TRUE(event_ring().lines().empty()); }

TEST(event_ring, every_event_has_its_own_name) {
  event_ring ring;
  for (int e = 0; e <= static_cast<int>(protocol_event::deadline_passed); ++e) {
    ring.add(e, static_cast<protocol_event>(e), 10 + e);
  }
  const std::vector<std::string> expected = {
      "step 0 triggered 10",     "step 1 trigger_missed 11", "step 2 reduced 12",
      "step 3 planned 13",       "step 4 agreed 14",         "step 5 diverged 15",
      "step 6 batch_started 16", "step 7 batch_arrived 17",  "step 8 batch_committed 18",
      "step 9 bad_checksum 19",  "step 10 drain_began 20",   "step 11 drained 21",
      "step 12 quarantined 22",  "step 13 closed 23",        "step 14 deadline_passed 24",
  };
  EXPECT_EQ(ring.lines(), expected);
}

TEST(event_ring, keeps_the_last_256_oldest_first) {
  for (const int count : {255, 256, 257, 511, 1000}) {
    event_ring ring;
    for (int i = 0; i < count; ++i) ring.add(i, protocol_event::planned);
    const std::vector<std::string> lines = ring.lines();
    const int kept = std::min(count, 256);
    ASSERT_EQ(lines.size(), static_cast<std::size_t>(kept)) << count;
    for (int i = 0; i < kept; ++i)
      EXPECT_EQ(lines[i], "step " + std::to_string(count - kept + i) + " planned 0");
  }
}

TEST(trouble, text_names_rank_and_kind) {
  EXPECT_EQ(trouble_text(make_trouble(trouble_kind::planner_failed, 3)),
            "rank 3: the planner failed");
  EXPECT_EQ(trouble_text(make_trouble(trouble_kind::deadline, 0)),
            "rank 0: a phase passed its deadline");
  EXPECT_EQ(trouble_text(make_trouble(trouble_kind::paused, 16383)), "rank 16383: paused");
}

TEST(trouble, unknown_kind_has_a_text_too) {
  EXPECT_EQ(trouble_text(std::uint64_t{77} << 32 | 5), "rank 5: unknown trouble");
  EXPECT_EQ(trouble_text(0), "rank 0: unknown trouble");
}

TEST(trouble, minimum_over_ranks_is_the_gravest_kind_then_the_lowest_rank) {
  EXPECT_LT(make_trouble(trouble_kind::planner_failed, 9), make_trouble(trouble_kind::deadline, 0));
  EXPECT_LT(make_trouble(trouble_kind::deadline, 9), make_trouble(trouble_kind::paused, 0));
  EXPECT_LT(make_trouble(trouble_kind::paused, 1), make_trouble(trouble_kind::paused, 2));
}

}  // namespace
}  // namespace ballast
