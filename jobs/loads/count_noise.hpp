#pragma once
// From how popular the experts of a layer are to how many tokens each gets in one step: integers
// with an exact sum and as much noise as asked.

#include <cstdint>
#include <span>
#include <vector>

#include "jobs/loads/random_stream.hpp"

namespace ballast {

struct step_shape {
  std::int64_t tokens = 0;  ///< 0..2^24
  std::int32_t top_k = 1;   ///< 1..experts; tokens * top_k <= 2^40
};

/// The most noise that a step of this shape is drawn with: an expert of mean popularity then has a
/// Dirichlet weight of 1/16, that is, it is chosen by next to none or by a large part of the
/// tokens.
double noise_max(step_shape shape, std::int32_t experts);

/// Keeps its scratch memory between calls.
class count_sampler {
 public:
  /// Draws the counts of one layer. They sum to tokens * top_k, and none is larger than tokens,
  /// since the experts of one token are distinct: expectations and draws beyond that are cut and
  /// dealt out to the others in proportion.
  ///
  /// `noise` is the variance of a count over that of tokens * top_k independent choices. 0: the
  /// expectation, rounded by the largest remainders (ties to the lower expert). Below 1: that part
  /// of the choices is independent, the rest exact. 1: multinomial. Above 1, to noise_max:
  /// Dirichlet-multinomial, as requests that keep choosing the same experts make it.
  ///
  /// `popularity`: [experts], >= 0 and not all 0, of any scale; left as probabilities. `counts`:
  /// [experts].
  void draw(std::span<double> popularity, step_shape shape, double noise, random_stream& stream,
            std::span<std::int64_t> counts);

 private:
  void limit_probabilities(std::span<double> probabilities, double most);
  void add_expected(std::span<const double> probabilities, std::int64_t choices,
                    std::span<std::int64_t> counts);
  void add_multinomial(std::span<const double> probabilities, std::int64_t choices,
                       random_stream& stream, std::span<std::int64_t> counts);
  void limit_counts(std::int64_t tokens, std::span<std::int64_t> counts);

  std::vector<double> reals_;
  std::vector<std::int32_t> order_;
};

/// A binomial draw: exact by inversion where the expectation (or that of the complement) is below
/// 10, otherwise the normal one with its skewness corrected, rounded. Always in [0, trials].
std::int64_t draw_binomial(std::int64_t trials, double probability, random_stream& stream);

/// A gamma draw of scale 1, shape > 0. Marsaglia and Tsang, 2000.
double draw_gamma(double shape, random_stream& stream);

}  // namespace ballast
