#include "runtime/host_backend.hpp"

#include <fmt/format.h>

#include "kernels/record.hpp"
#include "kernels/route.hpp"
#include "runtime/error.hpp"
#include "runtime/ids.hpp"

namespace ballast {

host_backend::host_backend(const settings& config, const live_placement& live, MPI_Comm weight_comm,
                           int rank)
    : config_(config),
      live_(live),
      weight_comm_(weight_comm),
      rank_(rank),
      memory_(config.config.layers, config.config.experts, config.rows_per_rank()),
      window_(config.cells(), config.config.interval, config.config.window),
      sums_(config.cells()),
      record_scratch_(record_scratch_size(config.config.experts)) {}

void host_backend::connect(const cluster_map& cluster) {
  for (const rank_place& place : cluster.ranks) node_of_rank_.push_back(place.node);
  exchange_settings wanted = {
      config_.config.verify, config_.config.receives_per_batch, config_.config.bytes_per_step, {}};
  for (const std::int32_t node : node_of_rank_)
    wanted.is_on_node.push_back(node == node_of_rank_[rank_]);
  exchange_.emplace(weight_comm_, memory_, config_.rows_per_rank(), wanted);
}

void* host_backend::allocate_rows(std::size_t bytes) {
  try {
    return rows_.emplace_back(std::make_unique<std::byte[]>(bytes)).get();
  } catch (const std::bad_alloc&) {
    throw error(BALLAST_ERROR_MEMORY, fmt::format("{} bytes cannot be allocated", bytes));
  }
}

void host_backend::record(int layer, const ballast_ids& ids, bool listening) {
  if (!listening) return;
  ids_out_of_range_ += record_host(to_matrix(ids), counts_of(layer), record_scratch_);
}

void host_backend::record_counts(int layer, const std::int64_t* counts, bool listening) {
  const std::span<std::int64_t> cells = counts_of(layer);
  const std::int64_t most = config_.window_count_max();
  for (std::size_t e = 0; e < cells.size(); ++e) {
    if (counts[e] < 0 || counts[e] > most - cells[e]) {
      throw error(BALLAST_ERROR_INVALID_ARGUMENT,
                  fmt::format("layer {}, expert {}: count {} is negative or overflows the window",
                              layer, e, counts[e]));
    }
  }
  if (!listening) return;
  for (std::size_t e = 0; e < cells.size(); ++e) cells[e] += counts[e];
}

void host_backend::route(int layer, const ballast_ids& ids, int mode, std::int64_t step,
                         void* slots) {
  const route_origin origin = {rank_, config_.rows_per_rank(), node_of_rank_.data(), step};
  route_host(to_matrix(ids), live_.tables(layer), origin, static_cast<route_mode>(mode), slots);
}

std::span<std::int64_t> host_backend::counts_of(int layer) {
  const std::size_t experts = config_.config.experts;
  return window_.current().subspan(layer * experts, experts);
}

}  // namespace ballast
