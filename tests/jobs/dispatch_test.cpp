// The plan of who sends which token where: every slot is served once, by the expert it names, and
// both sides of every pair of ranks agree.
#include "jobs/replay/dispatch.hpp"

#include <gtest/gtest.h>

#include <random>
#include <utility>

namespace ballast {
namespace {

using slot_list = std::vector<std::int32_t>;

slot_list random_slots(std::size_t count, int slots, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  slot_list list(count);
  for (std::int32_t& slot : list) slot = static_cast<std::int32_t>(random() % (slots + 1)) - 1;
  return list;
}

// Carries every token's name through the plans of all ranks as the FFN carries activations, and
// returns for each slot of each rank who answered: (target rank, row, source rank, token).
struct answer {
  int rank, row, source;
  std::int32_t token;
  bool operator==(const answer&) const = default;
};

std::vector<answer> deliver(const slot_list& slots, int ranks, int rows, int columns) {
  std::vector<dispatch_plan> plans(ranks);
  for (int r = 0; r < ranks; ++r) plans[r].make(slots, {r, ranks, rows, columns});
  std::vector<std::vector<answer>> returned(ranks);  // by item of the sender
  for (int r = 0; r < ranks; ++r) returned[r].resize(plans[r].sent_token.size());
  for (int r = 0; r < ranks; ++r) {
    std::vector<std::pair<int, std::int32_t>> received;  // source rank, its item
    for (int source = 0; source < ranks; ++source) {
      EXPECT_EQ(plans[source].sent_to[r], plans[r].received_from[source]);
      std::int32_t item = 0;
      for (int before = 0; before < r; ++before) item += plans[source].sent_to[before];
      for (std::int32_t i = 0; i < plans[source].sent_to[r]; ++i)
        received.emplace_back(source, item + i);
    }
    EXPECT_EQ(received.size(), plans[r].item_at_place.size());
    std::int32_t place = 0;
    int row_before = -1;
    for (const expert_batch& batch : plans[r].batches) {
      EXPECT_EQ(batch.begin, place);
      EXPECT_LT(batch.begin, batch.end);
      EXPECT_GT(batch.row, row_before);
      row_before = batch.row;
      for (; place < batch.end; ++place) {
        const std::int32_t item = plans[r].item_at_place[place];
        EXPECT_EQ(plans[r].place_of_item[item], place);
        const auto [source, sent] = received[item];
        returned[source][sent] = {r, batch.row, source, plans[source].sent_token[sent]};
      }
    }
    EXPECT_EQ(place, static_cast<std::int32_t>(received.size()));
  }
  std::vector<answer> answers;
  for (int r = 0; r < ranks; ++r) {
    for (const std::int32_t item : plans[r].item_of_slot)
      answers.push_back(item < 0 ? answer{-1, -1, r, -1} : returned[r][item]);
  }
  return answers;
}

TEST(dispatch, every_slot_is_answered_by_its_expert_with_its_token) {
  for (const int ranks : {1, 2, 3, 8}) {
    for (const int rows : {1, 2, 7}) {
      for (const int columns : {1, 3}) {
        for (const int tokens : {0, 1, 13, 40}) {
          const std::uint64_t seed = ranks * 1000 + rows * 100 + columns * 50 + tokens;
          SCOPED_TRACE("seed " + std::to_string(seed));
          const int per_rank = tokens * columns;
          const slot_list slots =
              random_slots(static_cast<std::size_t>(ranks) * per_rank, ranks * rows, seed);
          const std::vector<answer> answers = deliver(slots, ranks, rows, columns);
          ASSERT_EQ(answers.size(), slots.size());
          for (int i = 0; i < static_cast<int>(slots.size()); ++i) {
            const int source = i / per_rank;
            const answer expected = slots[i] < 0 ? answer{-1, -1, source, -1}
                                                 : answer{slots[i] / rows, slots[i] % rows, source,
                                                          i % per_rank / columns};
            EXPECT_EQ(answers[i], expected) << "slot " << i;
          }
        }
      }
    }
  }
}

TEST(dispatch, a_plan_can_be_made_anew) {
  dispatch_plan used;
  used.make(random_slots(60, 8, 1), {1, 2, 4, 3});
  const slot_list slots = random_slots(24, 8, 2);
  used.make(slots, {1, 2, 4, 3});
  dispatch_plan fresh;
  fresh.make(slots, {1, 2, 4, 3});
  EXPECT_EQ(used.sent_token, fresh.sent_token);
  EXPECT_EQ(used.item_of_slot, fresh.item_of_slot);
  EXPECT_EQ(used.item_at_place, fresh.item_at_place);
  EXPECT_EQ(used.place_of_item, fresh.place_of_item);
  EXPECT_EQ(used.received_from, fresh.received_from);
  EXPECT_EQ(used.batches.size(), fresh.batches.size());
}

}  // namespace
}  // namespace ballast
