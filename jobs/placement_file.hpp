#pragma once
// The placement file ballast.placement/1: who is in which slot, and the shares.

#include <cstdint>
#include <string>
#include <vector>

namespace ballast {

struct placement_file {
  std::int32_t layers = 0;
  std::int32_t experts = 0;
  std::int32_t ranks = 0;
  std::int32_t slots_per_rank = 0;
  std::vector<std::int32_t> slots_per_layer;   ///< [layers] or empty: all have slots_per_rank
  std::string model;                           ///< optional
  std::vector<std::int32_t> experts_of_slots;  ///< [layers][ranks * slots_per_rank], -1 empty
  std::vector<std::int32_t> shares;            ///< the same shape
};

/// Throws std::invalid_argument naming file, field and value: missing, larger than 256 MiB, not
/// JSON, another schema, wrong shapes, ids, shares or slots out of range, ragged slots_per_rank.
/// Whether the placement is legal is the library's to say. slots_per_rank may be a list that says
/// the same for each rank.
placement_file read_placement_file(const std::string& path);

void write_placement_file(const std::string& path, const placement_file& file);

}  // namespace ballast
