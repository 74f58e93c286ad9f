// Rounds of transfers around a ring of ranks: what arrives, its hashes, and what one call may do.
#include "runtime/host_transport.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <limits>
#include <vector>

namespace ballast {
namespace {

constexpr std::size_t piece_bytes = std::size_t{256} << 10;
constexpr std::int64_t no_limit = std::numeric_limits<std::int64_t>::max();
constexpr int rows = 6;  // 0 to 2 are sent, 3 to 5 receive

// Sizes around a piece and far from it.
const std::vector<std::vector<std::size_t>> layer_shapes = {
    {1},
    {300001, 7},
    {piece_bytes, piece_bytes - 1, 8, piece_bytes + 1},
    {3 * piece_bytes + 5},
    {64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64},
};

class ring {
 public:
  ring() : memory(static_cast<int>(layer_shapes.size()), 4, rows) {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (std::size_t layer = 0; layer < layer_shapes.size(); ++layer) {
      std::vector<ballast_tensor> tensors;
      for (const std::size_t bytes : layer_shapes[layer]) {
        storage_.emplace_back(bytes * rows, std::byte{0});
        tensors.push_back({storage_.back().data(), bytes, bytes});
      }
      memory.register_layer(static_cast<int>(layer), tensors);
      for (int row = 0; row < rows / 2; ++row) fill(static_cast<int>(layer), row, rank);
    }
    memory.allocate_staging(2);
  }

  static std::byte content(int of_rank, int layer, int row, int tensor, std::size_t i) {
    return static_cast<std::byte>((i * 31 + i / 251 + of_rank * 7 + layer * 5 + row * 3 + tensor) &
                                  0xff);
  }

  // Every row to the next rank, in the order of moves; and within this rank a copy into staging.
  std::vector<transfer> round(bool hashed) const {
    std::vector<transfer> all;
    const int to = (rank + 1) % ranks;
    const int from = (rank + ranks - 1) % ranks;
    for (int layer = 0; layer < static_cast<int>(layer_shapes.size()); ++layer) {
      for (int row = 0; row < rows / 2; ++row) {
        const std::int32_t move = layer * rows + row;
        const weight_location source = {row, -1};
        const weight_location target = {row + rows / 2, -1};
        if (ranks == 1) {
          all.push_back({operation_kind::copy, hashed, move, rank, layer, source, target});
          continue;
        }
        all.push_back({operation_kind::send, false, move, to, layer, source, {}});
        all.push_back({operation_kind::receive, hashed, move, from, layer, {}, target});
      }
    }
    all.push_back({operation_kind::copy, hashed, 0, rank, 1, {2, -1}, {1, 0}});
    return all;
  }

  // So that of two neighbours one receives in each way.
  std::vector<bool> is_on_node() const {
    std::vector<bool> all;
    for (int r = 0; r < ranks; ++r) all.push_back(r % 2 == 0);
    return all;
  }

  std::int64_t wrong_bytes(const transfer& t) const {
    const int of_rank = t.kind == operation_kind::copy ? rank : t.peer;
    const int row = t.kind == operation_kind::copy ? t.source.row : t.target.row - rows / 2;
    std::int64_t wrong = 0;
    for (int tensor = 0; tensor < memory.tensor_count(t.layer); ++tensor) {
      const std::byte* at = memory.address(t.layer, tensor, t.target);
      for (std::size_t i = 0; i < memory.tensor_bytes(t.layer, tensor); ++i)
        wrong += at[i] != content(of_rank, t.layer, row, tensor, i);
    }
    return wrong;
  }

  int rank = 0;
  int ranks = 0;
  expert_memory memory;

 private:
  void fill(int layer, int row, int of_rank) {
    for (int tensor = 0; tensor < memory.tensor_count(layer); ++tensor) {
      std::byte* at = memory.address(layer, tensor, {row, -1});
      for (std::size_t i = 0; i < memory.tensor_bytes(layer, tensor); ++i)
        at[i] = content(of_rank, layer, row, tensor, i);
    }
  }

  std::vector<std::vector<std::byte>> storage_;
};

bool arrives(const transfer& t) { return t.kind != operation_kind::send; }

void run(host_transport& transport, std::int64_t bytes_per_call) {
  while (!transport.finished()) {
    std::int64_t budget = no_limit;
    transport.progress(bytes_per_call, budget);
  }
}

TEST(host_transport, what_arrives_is_what_was_sent_and_its_hash_is_the_row_s) {
  ring scene;
  host_transport transport(MPI_COMM_WORLD, scene.memory, scene.is_on_node());
  std::vector<transfer> round = scene.round(true);
  for (int again = 0; again < 3; ++again) {
    transport.begin(round);
    run(transport, again == 0 ? 1 : no_limit);
    for (const transfer& t : round) {
      if (!arrives(t)) continue;
      EXPECT_EQ(scene.wrong_bytes(t), 0) << "layer " << t.layer << ", move " << t.move;
      EXPECT_EQ(t.hash, scene.memory.hash(t.layer, t.target))
          << "layer " << t.layer << ", move " << t.move;
    }
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(host_transport, hashes_that_are_not_wanted_are_not_made) {
  ring scene;
  host_transport transport(MPI_COMM_WORLD, scene.memory, scene.is_on_node());
  std::vector<transfer> round = scene.round(false);
  transport.begin(round);
  run(transport, no_limit);
  for (const transfer& t : round) {
    EXPECT_EQ(t.hash, 0u);
    if (arrives(t)) {
      EXPECT_EQ(scene.wrong_bytes(t), 0);
    }
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(host_transport, a_call_stops_soon_after_the_bytes_it_was_given) {
  ring scene;
  host_transport transport(MPI_COMM_WORLD, scene.memory, scene.is_on_node());
  std::vector<transfer> round = scene.round(true);
  std::int64_t expected = 0;
  for (const transfer& t : round) expected += scene.memory.expert_bytes(t.layer);
  for (const std::int64_t limit : {1, 1000, 600000}) {
    transport.begin(round);
    std::int64_t all = 0;
    while (!transport.finished()) {
      std::int64_t budget = no_limit;
      const std::int64_t now = transport.progress(limit, budget);
      EXPECT_LT(now, limit + 3 * static_cast<std::int64_t>(piece_bytes));
      all += now;
    }
    EXPECT_EQ(all, expected);
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(host_transport, nothing_is_sent_without_a_budget_and_one_piece_more_than_it_at_most) {
  ring scene;
  host_transport transport(MPI_COMM_WORLD, scene.memory, scene.is_on_node());
  std::vector<transfer> round = scene.round(true);
  std::int64_t to_send = 0;
  for (const transfer& t : round) {
    if (t.kind == operation_kind::send) to_send += scene.memory.expert_bytes(t.layer);
  }
  transport.begin(round);
  std::int64_t none = 0;
  for (int call = 0; call < 100; ++call) transport.progress(no_limit, none);
  EXPECT_EQ(none, 0);
  EXPECT_EQ(transport.finished(), scene.ranks == 1);
  MPI_Barrier(MPI_COMM_WORLD);
  std::int64_t sent = 0;
  while (!transport.finished()) {
    std::int64_t budget = 1000;
    transport.progress(no_limit, budget);
    EXPECT_GE(budget, 1 - static_cast<std::int64_t>(piece_bytes));
    sent += 1000 - budget;
  }
  EXPECT_EQ(sent, to_send);
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(host_transport, a_corrupted_arrival_changes_one_hash) {
  ring scene;
  if (scene.ranks == 1) GTEST_SKIP() << "nothing arrives from another rank";
  host_transport transport(MPI_COMM_WORLD, scene.memory, scene.is_on_node());
  std::vector<transfer> round = scene.round(true);
  transport.begin(round);
  run(transport, no_limit);
  const std::vector<transfer> good = round;
  MPI_Barrier(MPI_COMM_WORLD);
  transport.corrupt_next_arrival();
  transport.begin(round);
  run(transport, no_limit);
  int differ = 0;
  for (std::size_t i = 0; i < round.size(); ++i) {
    differ += round[i].hash != good[i].hash;
    if (round[i].kind == operation_kind::receive) {
      EXPECT_EQ(scene.wrong_bytes(round[i]), round[i].hash != good[i].hash);
    }
  }
  EXPECT_EQ(differ, 1);
  MPI_Barrier(MPI_COMM_WORLD);
}

}  // namespace
}  // namespace ballast
