// `ballast topo`: the cluster map as people and programs read it.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "jobs/command.hpp"
#include "jobs/mpi_session.hpp"
#include "jobs/output.hpp"

namespace ballast {
namespace {

constexpr const char* link_names[] = {"local", "island", "node", "remote"};

struct topo_options {
  std::string topology;
  std::int32_t ranks = 0;
  std::int32_t ranks_per_node = 0;
  std::string json;
  bool quiet = false;
};

using topology_handle = std::unique_ptr<ballast_topology, decltype(&ballast_topology_destroy)>;

ballast_rank_place place_of(const ballast_topology* topology, int rank) {
  ballast_rank_place place;
  place.struct_size = sizeof(place);
  check(ballast_topology_place(topology, rank, &place));
  return place;
}

void print(const ballast_topology* topology, int ranks, int nodes, int islands) {
  fmt::print("{} ranks, {} nodes, {} islands\n\n", ranks, nodes, islands);
  fmt::print("{:>5} {:>5} {:>6} {:>5} {:>4} {:>4} {:>4}  {:<13} {:<24} {:<12} {}\n", "rank", "node",
             "island", "local", "numa", "gpu", "nic", "bus id", "model", "nic name", "host");
  const auto index = [](int i) { return i < 0 ? std::string("-") : std::to_string(i); };
  const auto text = [](const char* t) { return *t == '\0' ? "-" : t; };
  for (int r = 0; r < ranks; ++r) {
    const ballast_rank_place p = place_of(topology, r);
    fmt::print("{:>5} {:>5} {:>6} {:>5} {:>4} {:>4} {:>4}  {:<13} {:<24} {:<12} {}\n", r, p.node,
               p.island, p.local_rank, index(p.numa), index(p.gpu), index(p.nic),
               text(p.gpu_bus_id), text(p.gpu_model), text(p.nic_name), text(p.host));
  }
  int64_t costs[BALLAST_LINK_CLASSES];
  check(ballast_topology_costs(topology, costs));
  fmt::print("\n{:<8} {:>10} {:>8}\n", "link", "us/MiB", "GB/s");
  for (int c = 0; c < BALLAST_LINK_CLASSES; ++c) {
    fmt::print("{:<8} {:>10.1f} {:>8.0f}\n", link_names[c], costs[c] / 1e3,
               1048576.0 / static_cast<double>(costs[c]));
  }
  if (ranks > 32) return;
  fmt::print("\nlinks (L local, I island, N node, R remote)\n");
  for (int a = 0; a < ranks; ++a) {
    fmt::print("{:>5} ", a);
    for (int b = 0; b < ranks; ++b) {
      int32_t link = 0;
      check(ballast_topology_link(topology, a, b, &link));
      fmt::print(" {}", "LINR"[link]);
    }
    fmt::print("\n");
  }
}

nlohmann::ordered_json to_json(const ballast_topology* topology, int ranks, int nodes,
                               int islands) {
  nlohmann::ordered_json document = json_head("topo");
  document["ranks"] = ranks;
  document["nodes"] = nodes;
  document["islands"] = islands;
  int64_t costs[BALLAST_LINK_CLASSES];
  check(ballast_topology_costs(topology, costs));
  for (int c = 0; c < BALLAST_LINK_CLASSES; ++c)
    document["cost_ns_per_mib"][link_names[c]] = costs[c];
  auto& places = document["places"] = nlohmann::ordered_json::array();
  for (int r = 0; r < ranks; ++r) {
    const ballast_rank_place p = place_of(topology, r);
    places.push_back({{"rank", r},
                      {"node", p.node},
                      {"island", p.island},
                      {"local_rank", p.local_rank},
                      {"package", p.package},
                      {"numa", p.numa},
                      {"gpu", p.gpu},
                      {"nic", p.nic},
                      {"gpu_bus_id", p.gpu_bus_id},
                      {"gpu_model", p.gpu_model},
                      {"nic_name", p.nic_name},
                      {"host", p.host}});
  }
  return document;
}

void show(const ballast_topology* topology, const topo_options& options) {
  int32_t ranks = 0;
  int32_t nodes = 0;
  int32_t islands = 0;
  check(ballast_topology_counts(topology, &ranks, &nodes, &islands));
  if (!options.quiet && options.json != "-") print(topology, ranks, nodes, islands);
  write_json(to_json(topology, ranks, nodes, islands), options.json);
}

int run_topo(const topo_options& options) {
  if (options.ranks > 0) {  // a made-up cluster needs no MPI
    ballast_topology* made = nullptr;
    check(ballast_topology_imitate(
        options.ranks, options.ranks_per_node > 0 ? options.ranks_per_node : options.ranks,
        options.topology.c_str(), &made));
    const topology_handle topology(made, ballast_topology_destroy);
    show(topology.get(), options);
    return 0;
  }
  return run_mpi_job([&](const mpi_session& mpi) {
    ballast_topology* made = nullptr;
    check(ballast_topology_create(mpi.comm(), options.topology.c_str(), options.ranks_per_node,
                                  &made));
    const topology_handle topology(made, ballast_topology_destroy);
    together(mpi, [&] {
      if (mpi.rank() == 0) show(topology.get(), options);
    });
    return exit_code::ok;
  });
}

}  // namespace

void add_topo_command(command& program, command_body& run) {
  auto options = std::make_shared<topo_options>();
  command* topo = program.add_subcommand(
      "topo", "Show which rank sits where: node, island, NUMA node, GPU, NIC, links.");
  topo->add_option("--topology", options->topology,
                   "hwloc XML file (*.xml) or synthetic string to use as every node");
  topo->add_option("--ranks", options->ranks, "Imitate this many ranks, without MPI")
      ->check(range(1, 16384));
  topo->add_option("--ranks-per-node", options->ranks_per_node, "Imitate nodes of this many ranks")
      ->check(range(1, 16384));
  topo->add_option("--json", options->json,
                   "Write the map as JSON to this file, - for standard output");
  topo->add_flag("--quiet", options->quiet, "No table");
  topo->footer(
      "Examples:\n  mpirun -np 8 ballast topo\n  ballast topo --ranks 16 --ranks-per-node 8 "
      "--topology node.xml --json -");
  topo->callback([&run, options] { run = [options] { return run_topo(*options); }; });
}

}  // namespace ballast
