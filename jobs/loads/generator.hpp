#pragma once
// Made-up loads that look like measured ones: skewed marginals, layers of different skew, slow
// drift of what is popular, abrupt changes of the domain of the requests, and the noise of a batch.
// The same bytes for the same specification on every machine.
//
// What is drawn: every expert of every layer has a standard normal variable per domain, sqrt(r)
// common + sqrt(1 - r) of the domain, with the r at which the loads of two domains correlate by
// 0.15 over the experts of a layer. Both parts walk as a stationary AR(1) process. The marginal
// maps the variable to popularity (popularity.hpp); each layer has its own cv, within a factor of
// two around the given one. Every domain_steps another domain takes over, blending in over four
// steps; a domain that is not served does not walk. Counts are drawn from the popularity
// (count_noise.hpp).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "jobs/loads/load_source.hpp"
#include "jobs/loads/popularity.hpp"

namespace ballast {

struct generator_spec {
  std::string model = "deepseek-v3";     ///< a key of models.hpp; gives layers, experts and top_k
  std::optional<std::int32_t> layers;    ///< in place of the model's; 1..4096
  std::optional<std::int32_t> experts;   ///< 1..65536
  std::optional<std::int32_t> top_k;     ///< 1..experts
  marginal shape = marginal::lognormal;  ///< key "marginal"
  /// Of popularity over a layer's experts, 0..3; a layer's own is 0.71 to 1.41 of it.
  double cv = 0.78;
  /// Deviation of a step of the walk, of 1 in all, 0..1: 0 stands still, 1 is new every step.
  double drift = 0.02;
  std::int32_t domains = 4;             ///< 1..64
  std::int64_t domain_steps = 200;      ///< 1..10^9
  std::int64_t tokens_per_step = 4096;  ///< 1..2^24
  /// 0..noise_max (count_noise.hpp); 1 is decoding, 15 to 30 prefill.
  double noise = 1.0;
  std::int64_t steps = 1000;  ///< 1..10^9
  std::uint64_t seed = 1;
};

/// Reads "key=value,key=value"; the keys are the fields' names and "marginal"; an empty text is all
/// defaults. Throws std::invalid_argument naming key and value: unknown or repeated key, no value,
/// not a number, out of range.
generator_spec parse_generator_spec(std::string_view text);

/// The specification in full, as parse_generator_spec reads it.
std::string to_string(const generator_spec& spec);

/// Every layer of a step sums to tokens_per_step * top_k, and no count passes tokens_per_step.
/// Steps are replayed from the first when an earlier one is asked for. Throws std::invalid_argument
/// naming key and value where the specification is out of range, or asks for more than 2^27
/// variables (layers * experts * (domains + 1)).
std::unique_ptr<load_source> make_generator(const generator_spec& spec);
std::unique_ptr<load_source> make_generator(std::string_view spec);

/// Private to jobs/loads: throws what make_generator does, and returns the spec with layers,
/// experts and top_k filled in.
generator_spec checked(generator_spec spec);

}  // namespace ballast
