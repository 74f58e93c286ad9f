#pragma once
// The cases of `ballast bench plan`: shapes of public models on clusters, and families of loads.
// Names are those of the comparison of published planners that the figures are held against.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ballast {

struct plan_shape {
  std::string_view name;
  std::string_view model;  ///< key of models.hpp: layers and experts
  std::int32_t groups;
  std::int32_t nodes;
  std::int32_t ranks;
  std::int32_t slots;
  bool hierarchical;  ///< groups to nodes first
};
std::span<const plan_shape> plan_shapes();

std::span<const std::string_view> load_family_names();

struct layer_loads {
  std::int32_t layers = 0;
  std::int32_t experts = 0;
  std::vector<std::int64_t> loads;  ///< [layers][experts]
};

/// One window of 2^20 routed tokens per layer (before `group`, `hot30`, `zeros` and the zipf
/// families reshape it). Families: lognN with sigma N, gamma0.8 with that cv, zipfN with exponent
/// N, `group` with two hot groups of experts, `uniform`, `hot30` with one expert that has 30 % of
/// the load, `zeros` with 8 % idle experts. Throws std::invalid_argument naming an unknown family.
layer_loads make_plan_loads(const plan_shape& shape, std::string_view family, std::uint64_t seed);

}  // namespace ballast
