#include "jobs/replay/state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <stdexcept>

#include "jobs/collectives.hpp"
#include "jobs/exit_code.hpp"
#include "jobs/loads/npy_file.hpp"
#include "jobs/loads/trace.hpp"
#include "jobs/output.hpp"

namespace ballast {
namespace {

constexpr int windows_max = 256;  // that a context keeps or is given

std::string loads_file(const std::string& path) { return path + ".loads.npy"; }

// What a rank serves of one layer: shares by expert.
using served_experts = std::map<std::int32_t, std::int32_t>;

// Takes one expert from `rank` that other ranks serve too, and gives its share to the first of
// them; false if there is none.
bool give_up_a_replica(std::vector<served_experts>& ranks, std::size_t rank) {
  for (auto mine = ranks[rank].begin(); mine != ranks[rank].end(); ++mine) {
    for (std::size_t other = 0; other < ranks.size(); ++other) {
      const auto twin = ranks[other].find(mine->first);
      if (other == rank || twin == ranks[other].end()) continue;
      twin->second += mine->second;
      ranks[rank].erase(mine);
      return true;
    }
  }
  return false;
}

// In the middle of an epoch spare rows serve too, so that a rank may serve more experts than it has
// slots. There are enough slots for all experts: where every slot is taken some expert is in two.
void fit_into_slots(std::vector<served_experts>& ranks, std::size_t slots_per_rank) {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    while (ranks[rank].size() > slots_per_rank) {
      if (give_up_a_replica(ranks, rank)) continue;
      std::size_t room = 0;
      while (room < ranks.size() && ranks[room].size() >= slots_per_rank) ++room;
      for (std::size_t other = 0; room == ranks.size() && other < ranks.size(); ++other) {
        if (ranks[other].size() == slots_per_rank && give_up_a_replica(ranks, other)) room = other;
      }
      if (room == ranks.size()) throw std::logic_error("a layer has more experts than slots");
      ranks[room].insert(ranks[rank].extract(std::prev(ranks[rank].end())));
    }
  }
}

// Oldest first.
std::vector<std::int64_t> past_windows(const ballast_context* context, const replay_shape& shape) {
  ballast_counters counters;
  counters.struct_size = sizeof(counters);
  check(ballast_read_counters(context, &counters));
  std::vector<std::int64_t> windows(counters.past_windows * shape.cells());
  std::int64_t* window = windows.data();
  for (int index = counters.past_windows; index-- > 0; window += shape.cells())
    check(ballast_past_window(context, index, window));
  return windows;
}

}  // namespace

bool state_exists(const mpi_session& mpi, const std::string& path) {
  if (path.empty()) return false;
  std::error_code none;
  int found[] = {std::filesystem::exists(path, none), 0};
  found[1] = 1 - found[0];
  collectives(mpi.comm()).all_reduce(found, 2, MPI_INT, MPI_MAX);
  if (found[0] == 1 && found[1] == 1) {
    throw job_error(exit_code::bad_input,
                    fmt::format("{}: some ranks have it and others do not, --state is for a folder "
                                "that all of them share",
                                path));
  }
  return found[0] == 1;
}

void require_fits(const placement_file& file, const std::string& path, const replay_shape& shape,
                  int ranks) {
  const auto compare = [&](const char* field, std::int64_t in_file, std::int64_t wanted) {
    if (in_file != wanted)
      throw std::invalid_argument(
          fmt::format("{}: {} is {}, this job has {}", path, field, in_file, wanted));
  };
  compare("layers", file.layers, shape.layers);
  compare("experts", file.experts, shape.experts);
  compare("ranks", file.ranks, ranks);
  compare("slots_per_rank", file.slots_per_rank, shape.slots_per_rank);
}

std::vector<std::int64_t> read_saved_windows(const std::string& path, const replay_shape& shape) {
  const std::string file = loads_file(path);
  if (!std::filesystem::exists(file)) return {};
  const std::unique_ptr<load_source> loads = open_trace(file);
  if (loads->layers() != shape.layers || loads->experts() != shape.experts ||
      loads->steps() > windows_max) {
    throw std::invalid_argument(
        fmt::format("{}: {} windows of {} layers x {} experts, this job has up to {} of {} x {}",
                    file, loads->steps(), loads->layers(), loads->experts(), windows_max,
                    shape.layers, shape.experts));
  }
  std::vector<std::int64_t> windows(static_cast<std::size_t>(loads->steps()) * shape.cells());
  for (std::int64_t window = 0; window < loads->steps(); ++window)
    loads->counts(window, std::span(windows).subspan(window * shape.cells(), shape.cells()));
  return windows;
}

void save_state(const ballast_context* context, const replay_shape& shape,
                const std::string& path) {
  placement_file file;
  file.layers = shape.layers;
  file.experts = shape.experts;
  check(ballast_shape(context, nullptr, nullptr, &file.ranks, nullptr));
  file.slots_per_rank = shape.slots_per_rank;
  file.slots_per_layer = shape.slots_per_layer;
  ballast_layer_tables tables;
  tables.struct_size = sizeof(tables);
  for (int layer = 0; layer < shape.layers; ++layer) {
    check(ballast_tables(context, layer, &tables));
    std::vector<served_experts> ranks(file.ranks);
    for (int e = 0; e < shape.experts; ++e) {
      for (std::int32_t k = tables.replica_first[e], before = 0; k < tables.replica_first[e + 1];
           ++k) {
        ranks[tables.replica_slot[k] / shape.rows_per_rank][e] +=
            tables.replica_share_end[k] - before;
        before = tables.replica_share_end[k];
      }
    }
    fit_into_slots(ranks, shape.slots_of(layer));
    for (const served_experts& served : ranks) {
      const std::size_t end = file.experts_of_slots.size() + shape.slots_per_rank;
      for (const auto& [expert, share] : served) {
        file.experts_of_slots.push_back(expert);
        file.shares.push_back(share);
      }
      file.experts_of_slots.resize(end, -1);
      file.shares.resize(end, 0);
    }
  }
  write_placement_file(path, file);

  const std::vector<std::int64_t> windows = past_windows(context, shape);
  if (windows.empty()) {
    std::error_code none;
    std::filesystem::remove(loads_file(path), none);  // of a job that kept some
    return;
  }
  const auto count = static_cast<std::int64_t>(windows.size() / shape.cells());
  write_file(loads_file(path), npy_text({count, shape.layers, shape.experts}, windows));
}

}  // namespace ballast
