#pragma once
// Loads and clusters for tests, from integers only, so that they are the same on every machine.

#include <cstdint>
#include <vector>

#include "topology/cluster_map.hpp"

namespace ballast::testing {

/// splitmix64.
class generator {
 public:
  explicit generator(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15ull;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebull;
    return mixed ^ mixed >> 31;
  }

  std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(limit));
  }

 private:
  std::uint64_t state_;
};

/// About log-normal with sigma 1 and median 1024: the product of 48 factors of 1.155 or 1 / 1.155,
/// which is e to the power of a sum of 48 coin tosses of 0.144, standard deviation 1.0.
inline std::int64_t log_normal_load(generator& random) {
  std::int64_t scaled = std::int64_t{1024} << 20;
  std::uint64_t tosses = random.next();
  for (int toss = 0; toss < 48; ++toss, tosses >>= 1) {
    scaled = (tosses & 1) != 0 ? scaled * 1155 / 1000 : scaled * 1000 / 1155;
  }
  return scaled >> 20;
}

inline std::vector<std::int64_t> log_normal_loads(std::uint64_t seed, int layers, int experts) {
  generator random(seed);
  std::vector<std::int64_t> loads(static_cast<std::size_t>(layers) * experts);
  for (std::int64_t& load : loads) load = log_normal_load(random);
  return loads;
}

/// `nodes` nodes of `ranks_per_node` consecutive ranks each, every node one island.
inline cluster_map even_cluster(int nodes, int ranks_per_node) {
  cluster_map cluster;
  for (int rank = 0; rank < nodes * ranks_per_node; ++rank) {
    rank_place place;
    place.node = rank / ranks_per_node;
    place.island = place.node;
    place.local_rank = rank % ranks_per_node;
    cluster.ranks.push_back(place);
  }
  return cluster;
}

}  // namespace ballast::testing
