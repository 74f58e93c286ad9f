// The exported functions of topologies: each is one call of guard().
#include <fmt/format.h>

#include <cstring>

#include "runtime/agreement.hpp"
#include "runtime/discovery.hpp"
#include "runtime/error.hpp"
#include "runtime/guard.hpp"
#include "runtime/mpi_handles.hpp"

using ballast::error;
using ballast::guard;
using ballast::require_argument;

namespace {

constexpr double discovery_deadline_seconds = 60;
constexpr int32_t ranks_max = 16384;

template <std::size_t Size>
void copy_text(const std::string& text, char (&out)[Size]) {
  std::strncpy(out, text.c_str(), Size - 1);
  out[Size - 1] = '\0';
}

void require_rank(const ballast_topology* topology, int32_t rank) {
  if (rank < 0 || rank >= topology->found.map.rank_count()) {
    throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                fmt::format("rank {} is not in 0..{}", rank, topology->found.map.rank_count() - 1));
  }
}

ballast_rank_place describe(const ballast::discovered_topology& found, int32_t rank) {
  const ballast::rank_place& at = found.map.ranks[rank];
  ballast_rank_place place = {};
  place.node = at.node;
  place.island = at.island;
  place.local_rank = at.local_rank;
  place.package = at.package;
  place.numa = at.numa;
  place.gpu = at.gpu;
  place.nic = at.nic;
  const ballast::node_description& node = found.nodes[at.node];
  copy_text(node.host, place.host);
  if (at.gpu >= 0) {
    copy_text(node.gpus[at.gpu].bus_id, place.gpu_bus_id);
    copy_text(node.gpus[at.gpu].model, place.gpu_model);
  }
  if (at.nic >= 0) copy_text(node.nics[at.nic].name, place.nic_name);
  return place;
}

}  // namespace

extern "C" {

ballast_status ballast_topology_create(MPI_Comm comm, const char* source, int32_t ranks_per_node,
                                       ballast_topology** topology) {
  return guard([&] {
    ballast::require_intracommunicator(comm);
    const ballast::mpi_comm own =
        ballast::mpi_comm::duplicate(comm, "ballast topology", discovery_deadline_seconds);
    agree(own.get(), ballast::verdict_of([&] { require_argument(topology, "topology"); }), {},
          discovery_deadline_seconds);
    *topology = new ballast_topology{ballast::discover(own.get(), source == nullptr ? "" : source,
                                                       ranks_per_node, discovery_deadline_seconds)};
  });
}

ballast_status ballast_topology_imitate(int32_t ranks, int32_t ranks_per_node, const char* source,
                                        ballast_topology** topology) {
  return guard([&] {
    require_argument(topology, "topology");
    if (ranks < 1 || ranks > ranks_max) {
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  fmt::format("ranks is {}, expected 1 to {}", ranks, ranks_max));
    }
    if (ranks_per_node < 1) {
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  fmt::format("ranks_per_node is {}, expected 1 or more", ranks_per_node));
    }
    *topology = new ballast_topology{
        ballast::imitate(ranks, ranks_per_node, source == nullptr ? "" : source)};
  });
}

void ballast_topology_destroy(ballast_topology* topology) { delete topology; }

ballast_status ballast_topology_counts(const ballast_topology* topology, int32_t* ranks,
                                       int32_t* nodes, int32_t* islands) {
  return guard([&] {
    require_argument(topology, "topology");
    if (ranks != nullptr) *ranks = topology->found.map.rank_count();
    if (nodes != nullptr) *nodes = topology->found.map.node_count();
    if (islands != nullptr) *islands = topology->found.map.island_count();
  });
}

ballast_status ballast_topology_place(const ballast_topology* topology, int32_t rank,
                                      ballast_rank_place* place) {
  return guard([&] {
    require_argument(topology, "topology");
    require_rank(topology, rank);
    ballast::copy_out(describe(topology->found, rank), place, "place");
  });
}

ballast_status ballast_topology_link(const ballast_topology* topology, int32_t from_rank,
                                     int32_t to_rank, int32_t* link) {
  return guard([&] {
    require_argument(topology, "topology");
    require_argument(link, "link");
    require_rank(topology, from_rank);
    require_rank(topology, to_rank);
    *link = static_cast<int32_t>(topology->found.map.link(from_rank, to_rank));
  });
}

ballast_status ballast_topology_costs(const ballast_topology* topology,
                                      int64_t ns_per_mib[BALLAST_LINK_CLASSES]) {
  return guard([&] {
    require_argument(topology, "topology");
    require_argument(ns_per_mib, "ns_per_mib");
    for (int i = 0; i < BALLAST_LINK_CLASSES; ++i)
      ns_per_mib[i] = topology->found.map.cost_ns_per_mib[i];
  });
}

}  // extern "C"
