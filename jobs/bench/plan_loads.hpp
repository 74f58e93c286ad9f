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

/// One window of 2^20 routed tokens per layer, drawn from a multinomial over the experts'
/// popularity: lognN with sigma N; zipfN with exponent N, the experts shuffled; `group` with two
/// hot groups of eight, 6 and 3 times as popular; `uniform` with a spread of 3 %; `hot30` with one
/// expert that has 30 %; `zeros` with 8 % idle experts. The distributions are those of the
/// comparison; its random numbers (numpy's) are not reproduced, see read_plan_loads. Throws
/// std::invalid_argument naming an unknown family.
layer_loads make_plan_loads(const plan_shape& shape, std::string_view family, std::uint64_t seed);

/// The comparison's own loads, as its generator writes them: FOLDER/MODEL_FAMILY.npy, MODEL being
/// the shape's name up to the first underscore. Throws std::invalid_argument naming the file.
layer_loads read_plan_loads(const plan_shape& shape, std::string_view family,
                            const std::string& folder);

}  // namespace ballast
