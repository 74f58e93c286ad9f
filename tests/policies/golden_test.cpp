// Digests that must never change without a reason: the same requests on any machine, compiler,
// optimisation and number of threads. A change of a policy or of the digest changes them; then say
// so in the commit and write down the new ones.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "policies/plan.hpp"
#include "tests/policies/synthetic_loads.hpp"

namespace ballast {
namespace {

using ints = std::vector<std::int32_t>;

enum class load_kind { skewed, ties, zeros, one_hot, largest };

struct golden {
  const char* digest;
  const char* policy;
  bool compatible;
  int layers, experts, nodes, ranks_per_node, slots_per_rank, groups;
  load_kind loads;
  bool ragged;
  std::int64_t max_moves, max_bytes;
  int windows = 0;  // of a series
};

const golden goldens[] = {
    {"84d77f757384e576", "static", false, 3, 16, 1, 4, 5, 1, load_kind::skewed, false, -1, -1},
    {"6f867a10fe85f11f", "static", false, 2, 7, 1, 3, 3, 1, load_kind::zeros, true, -1, -1},
    {"c0311e38a0897b7b", "random", false, 4, 16, 2, 2, 5, 1, load_kind::skewed, false, -1, -1},
    {"9bbb72926e749642", "random", false, 4, 13, 1, 5, 3, 1, load_kind::ties, true, -1, -1},
    {"649a19ec287cc1d1", "random", false, 3, 16, 1, 4, 6, 1, load_kind::skewed, false, 3, -1},
    {"9554fb8c9416e895", "deepseek", true, 2, 12, 2, 4, 2, 4, load_kind::skewed, false, -1, -1},
    {"1c8217f756e12141", "deepseek", true, 2, 12, 2, 4, 2, 3, load_kind::skewed, false, -1, -1},
    {"9f8edceb61cd8e1b", "deepseek", true, 3, 16, 4, 2, 3, 8, load_kind::ties, false, -1, -1},
    {"5968e857e3662b4e", "deepseek", true, 1, 8, 1, 4, 3, 1, load_kind::zeros, false, -1, -1},
    {"f08b73d5529c8950", "deepseek-global", true, 58, 256, 4, 8, 9, 8, load_kind::skewed, false, -1,
     -1},
    {"fe24a93256da681c", "deepseek-hierarchical", true, 58, 256, 4, 8, 9, 8, load_kind::skewed,
     false, -1, -1},
    {"807169e2c5256dc4", "deepseek-global", false, 58, 256, 4, 8, 9, 8, load_kind::skewed, false,
     -1, -1},
    {"30fe179d816e4a03", "deepseek-hierarchical", false, 58, 256, 4, 8, 9, 8, load_kind::skewed,
     false, -1, -1},
    {"77918061599538a6", "deepseek-global", false, 5, 256, 40, 8, 1, 8, load_kind::skewed, false,
     -1, -1},
    {"636711f26d415757", "deepseek-global", false, 6, 128, 8, 8, 3, 1, load_kind::skewed, false, -1,
     -1},
    {"86c503b93fc12057", "deepseek", false, 3, 24, 2, 3, 6, 4, load_kind::ties, false, -1, -1},
    {"884abf2a0cdaafac", "deepseek", false, 3, 24, 2, 3, 6, 5, load_kind::one_hot, false, -1, -1},
    {"5378e91d30e9d44b", "deepseek", false, 4, 29, 1, 7, 6, 1, load_kind::skewed, true, -1, -1},
    {"daaa9a8eb7c027b6", "deepseek", false, 4, 11, 1, 5, 4, 1, load_kind::ties, true, -1, -1},
    {"bd91f4a1e1abc2c5", "deepseek", false, 2, 20, 1, 4, 6, 1, load_kind::zeros, false, -1, -1},
    {"60422ae13f9852a1", "deepseek", false, 2, 20, 1, 4, 6, 1, load_kind::largest, false, -1, -1},
    {"6247911c84478c90", "deepseek", true, 2, 20, 1, 4, 6, 1, load_kind::largest, false, -1, -1},
    {"37c41decbc0cdedd", "deepseek", false, 1, 1, 1, 1, 1, 1, load_kind::skewed, false, -1, -1},
    {"200cba792cbfd9f8", "deepseek", false, 2, 3, 1, 4, 5, 1, load_kind::skewed, false, -1, -1},
    {"b10868dfa05cdc1b", "deepseek", false, 8, 40, 1, 8, 6, 1, load_kind::skewed, false, 36, -1},
    {"c954fbde3a53a239", "deepseek", false, 8, 40, 1, 8, 6, 1, load_kind::skewed, false, -1,
     20 * 4096},
    {"4a2f61707832d191", "flow", false, 3, 16, 1, 4, 5, 1, load_kind::skewed, false, -1, -1},
    {"478b58ac4b19267a", "flow", false, 4, 256, 4, 8, 9, 8, load_kind::skewed, false, 8, -1},
    {"0b16ad34caa85467", "flow", false, 2, 256, 9, 8, 4, 1, load_kind::skewed, false, -1, -1},
    {"15cf9984e55f7f99", "flow", false, 2, 256, 18, 8, 2, 1, load_kind::skewed, false, -1, -1},
    {"62d82c8ad0895cbd", "flow", false, 4, 29, 1, 7, 6, 1, load_kind::skewed, true, -1, -1},
    {"5cb976cff562fd4a", "flow", false, 4, 11, 1, 5, 4, 1, load_kind::ties, true, -1, -1},
    {"48b83316e72cd3ae", "flow", false, 2, 20, 1, 4, 6, 1, load_kind::zeros, false, -1, -1},
    {"fdb93ac6fc5e8d6d", "flow", false, 3, 24, 2, 3, 6, 5, load_kind::one_hot, false, -1, -1},
    {"18ec412eb57659cb", "flow", false, 2, 20, 1, 4, 6, 1, load_kind::largest, false, -1, -1},
    {"149bdb4ef8b80a2f", "flow", false, 1, 1, 1, 1, 1, 1, load_kind::skewed, false, -1, -1},
    {"b928836150506e32", "flow", false, 8, 40, 1, 8, 6, 1, load_kind::skewed, false, -1, 3 * 4096},
    {"0d53640543b61bc4", "deepseek-vec", true, 2, 12, 2, 4, 2, 4, load_kind::skewed, false, -1, -1},
    {"1787b4da7c91c1a9", "deepseek-vec", false, 58, 256, 4, 8, 9, 1, load_kind::skewed, false, -1,
     -1},
    {"96f0fbdfd367364f", "deepseek-vec", false, 3, 24, 2, 3, 6, 4, load_kind::ties, false, -1, -1},
    {"6f28f5bfb4457410", "deepseek-vec", false, 4, 29, 1, 7, 6, 1, load_kind::skewed, true, -1, -1},
    {"3af7309e8c2f8dca", "deepseek-vec", false, 2, 20, 1, 4, 6, 1, load_kind::zeros, false, -1, -1},
    {"1af2226cb55e604c", "deepseek-vec", false, 2, 20, 1, 4, 6, 1, load_kind::largest, false, -1,
     -1},
    {"cf7de6f1acb72dde", "trtllm", true, 2, 12, 2, 4, 2, 4, load_kind::skewed, false, -1, -1},
    {"9b72cd5b34797dc2", "trtllm", false, 58, 256, 4, 8, 9, 1, load_kind::skewed, false, -1, -1},
    {"a265951d5845973e", "trtllm", false, 3, 24, 2, 3, 6, 4, load_kind::ties, false, -1, -1},
    {"9466d389c852d7a1", "trtllm", false, 4, 29, 1, 7, 6, 1, load_kind::skewed, true, -1, -1},
    {"25e0da62e5defaef", "trtllm", false, 2, 20, 1, 4, 6, 1, load_kind::zeros, false, -1, -1},
    {"5bca2f665d9b2723", "trtllm", false, 2, 20, 1, 4, 6, 1, load_kind::largest, false, -1, -1},
    {"71c07480e34e9c62", "swift", true, 3, 32, 1, 8, 5, 1, load_kind::skewed, false, -1, -1},
    {"2e3dc0d17354100f", "swift", false, 58, 256, 4, 8, 9, 1, load_kind::skewed, false, -1, -1},
    {"f741eea15afed1a3", "swift", false, 3, 24, 2, 3, 6, 4, load_kind::ties, false, -1, -1},
    {"0a24933a318b428c", "swift", false, 4, 29, 1, 7, 6, 1, load_kind::skewed, true, -1, -1},
    {"0268fdf044670087", "swift", false, 2, 20, 1, 4, 6, 1, load_kind::one_hot, false, -1, -1},
    {"fabce389e95c3f1a", "swift", false, 2, 20, 1, 4, 6, 1, load_kind::largest, false, -1, -1},
    {"56d18a60aa4753b5", "deepseek-vec", false, 3, 24, 2, 3, 6, 4, load_kind::skewed, false, -1, -1, 5},
    {"63bbb32559409c71", "flash", false, 58, 256, 4, 8, 9, 1, load_kind::skewed, false, -1, -1},
    {"a0f73c4fe15590ca", "flash", false, 6, 256, 4, 8, 9, 1, load_kind::skewed, false, -1, -1, 8},
    {"0673b9502ac04ddc", "flash", false, 2, 96, 4, 8, 5, 1, load_kind::skewed, false, -1, -1, 130},
    {"f2594af54b123ea3", "flash", false, 3, 24, 2, 3, 6, 4, load_kind::ties, false, -1, -1, 4},
    {"419cd03e2a3248d6", "flash", false, 4, 29, 1, 7, 6, 1, load_kind::skewed, true, -1, -1, 3},
    {"4cf46c6df490eb9d", "flash", false, 2, 20, 1, 4, 6, 1, load_kind::one_hot, false, -1, -1},
    {"c56f6a01af5dffae", "flash", false, 2, 20, 1, 4, 6, 1, load_kind::largest, false, -1, -1, 6},
};

std::int64_t load_of(load_kind kind, testing::generator& random, int expert) {
  switch (kind) {
    case load_kind::skewed:
      return testing::log_normal_load(random);
    case load_kind::ties:
      return random.below(4);
    case load_kind::zeros:
      return 0;
    case load_kind::one_hot:
      return expert == 5 ? 1'000'003 : 0;
    case load_kind::largest:
      return (std::int64_t{1} << 57) + random.below(std::int64_t{1} << 56);
  }
  return 0;
}

std::string planned_digest(const golden& golden, int number, int threads) {
  testing::generator random(static_cast<std::uint64_t>(number) + 1);
  const int ranks = golden.nodes * golden.ranks_per_node;
  ints slots(static_cast<std::size_t>(ranks), golden.slots_per_rank);
  ints usable = slots;
  if (golden.ragged) {
    for (int rank = 0; rank < ranks; ++rank) {
      slots[rank] += rank % 3;
      usable[rank] = rank == 1 ? 0
                               : slots[rank] - rank % 2 +
                                     (rank == 0       ? 0
                                      : rank % 3 == 0 ? 1
                                                      : 0);
      slots[rank] = std::max(slots[rank], usable[rank]);
    }
  } else {
    for (auto& count : usable) count = std::min(count, golden.experts);
  }
  const placement current =
      initial_placement(golden.layers, golden.experts, slot_layout::ragged(slots), usable);
  const cluster_map cluster = testing::even_cluster(golden.nodes, golden.ranks_per_node);
  std::vector<std::int64_t> loads;
  for (int layer = 0; layer < golden.layers; ++layer) {
    for (int expert = 0; expert < golden.experts; ++expert)
      loads.push_back(load_of(golden.loads, random, expert));
  }
  std::vector<std::int64_t> series;
  for (int window = 0; window < golden.windows; ++window) {
    for (const std::int64_t load : loads) series.push_back(load / 4 * random.below(8));
  }
  plan_request request;
  request.loads = loads;
  request.series = series;
  request.current = &current;
  request.cluster = &cluster;
  request.usable_slots = usable;
  request.policy = golden.policy;
  request.compatible = golden.compatible;
  request.groups = golden.groups;
  request.seed = 7;
  request.threads = threads;
  request.expert_bytes = 4096;
  request.limits = {golden.max_moves, golden.max_bytes};
  char text[17];
  std::snprintf(text, sizeof text, "%016llx",
                static_cast<unsigned long long>(decide(request).digest));
  return text;
}

TEST(plan, digests_are_the_golden_ones_for_any_thread_count) {
  int number = 0;
  for (const golden& golden : goldens) {
    for (const int threads : {1, 2, 3, 8}) {
      EXPECT_EQ(planned_digest(golden, number, threads), golden.digest) << "request " << number;
    }
    ++number;
  }
}

}  // namespace
}  // namespace ballast
