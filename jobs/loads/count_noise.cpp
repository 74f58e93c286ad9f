#include "jobs/loads/count_noise.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "jobs/loads/portable_math.hpp"

namespace ballast {

std::int64_t draw_binomial(std::int64_t trials, double probability, random_stream& stream) {
  if (trials <= 0 || !(probability > 0)) return 0;
  if (probability >= 1) return trials;
  if (probability > 0.5) return trials - draw_binomial(trials, 1.0 - probability, stream);
  const auto n = static_cast<double>(trials);
  const double mean = n * probability;
  if (mean < 10) {
    constexpr std::int64_t far_beyond_any_draw = 200;
    const double odds = probability / (1.0 - probability);
    const double at = stream.uniform();
    double mass = portable_exp(n * portable_log(1.0 - probability));
    double below = mass;
    std::int64_t drawn = 0;
    while (at > below && drawn < trials && drawn < far_beyond_any_draw) {
      mass *= static_cast<double>(trials - drawn) / static_cast<double>(drawn + 1) * odds;
      below += mass;
      ++drawn;
    }
    return drawn;
  }
  const double z = stream.normal();
  const double deviation = std::sqrt(mean * (1.0 - probability));
  const double drawn = mean + deviation * z + (1.0 - 2.0 * probability) * (z * z - 1.0) / 6.0;
  return static_cast<std::int64_t>(std::clamp(std::floor(drawn + 0.5), 0.0, n));
}

double noise_max(step_shape shape, std::int32_t experts) {
  return 1.0 + static_cast<double>(std::max<std::int64_t>(shape.tokens * shape.top_k - 1, 0)) /
                   (1.0 + experts / 16.0);
}

double draw_gamma(double shape, random_stream& stream) {
  if (shape < 1)
    return draw_gamma(shape + 1, stream) * portable_exp(portable_log(stream.uniform()) / shape);
  const double d = shape - 1.0 / 3;
  const double c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    const double x = stream.normal();
    const double root = 1.0 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    const double u = stream.uniform();
    if (u < 1.0 - 0.0331 * x * x * x * x) return d * v;
    if (portable_log(u) < 0.5 * x * x + d * (1.0 - v + portable_log(v))) return d * v;
  }
}

void count_sampler::draw(std::span<double> popularity, step_shape shape, double noise,
                         random_stream& stream, std::span<std::int64_t> counts) {
  std::fill(counts.begin(), counts.end(), 0);
  const std::int64_t choices = shape.tokens * shape.top_k;
  if (choices == 0) return;
  const double most = 1.0 / shape.top_k;
  limit_probabilities(popularity, most);
  if (noise > 1 && choices > 1) {
    // A Dirichlet distribution of total weight w gives counts 1 + (choices - 1) / (w + 1) times the
    // variance.
    const double weight = static_cast<double>(choices - 1) / (noise - 1.0) - 1.0;
    for (double& probability : popularity) {
      probability =
          probability > 0 ? draw_gamma(std::max(weight * probability, 1e-9), stream) : 0.0;
    }
    limit_probabilities(popularity, most);
  }
  const std::int64_t independent =
      noise >= 1
          ? choices
          : static_cast<std::int64_t>(std::floor(noise * static_cast<double>(choices) + 0.5));
  add_expected(popularity, choices - independent, counts);
  add_multinomial(popularity, independent, stream, counts);
  limit_counts(shape.tokens, counts);
}

// Scales to a sum of 1 with no probability above `most`: what is above is set to it and the others
// are scaled up to fill, which may push more of them above, and so on. Ends after at most 1 / most
// rounds, each fixing at least one.
void count_sampler::limit_probabilities(std::span<double> probabilities, double most) {
  reals_.assign(probabilities.begin(), probabilities.end());
  std::size_t fixed = 0;
  for (;;) {
    double sum = 0;
    for (const double value : reals_) sum += value;
    const double left = 1.0 - static_cast<double>(fixed) * most;
    if (!(sum > 0) || !(left > 0)) break;
    const double scale = left / sum;
    const std::size_t fixed_before = fixed;
    for (std::size_t i = 0; i < reals_.size(); ++i) {
      if (reals_[i] * scale < most) {
        if (reals_[i] > 0) probabilities[i] = reals_[i] * scale;
      } else if (reals_[i] > 0) {
        probabilities[i] = most;
        reals_[i] = 0;
        ++fixed;
      }
    }
    if (fixed == fixed_before) return;
  }
  // All that had weight is at its limit, or rounding left nothing for the rest.
  for (std::size_t i = 0; i < reals_.size(); ++i) {
    if (reals_[i] > 0) probabilities[i] = 0;
  }
}

void count_sampler::add_expected(std::span<const double> probabilities, std::int64_t choices,
                                 std::span<std::int64_t> counts) {
  if (choices == 0) return;
  reals_.resize(probabilities.size());
  std::int64_t left = choices;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    const double expected = probabilities[i] * static_cast<double>(choices);
    const auto whole = std::min(static_cast<std::int64_t>(expected), left);
    reals_[i] = expected - static_cast<double>(whole);
    counts[i] += whole;
    left -= whole;
  }
  order_.resize(probabilities.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto larger_remainder = [&](std::int32_t a, std::int32_t b) {
    const double of_a = reals_[static_cast<std::size_t>(a)],
                 of_b = reals_[static_cast<std::size_t>(b)];
    return of_a != of_b ? of_a > of_b : a < b;
  };
  // Rounding leaves less than one choice an expert; probabilities that sum to less than 1 could
  // leave more.
  const std::int64_t experts = static_cast<std::int64_t>(probabilities.size());
  const std::int64_t each = left / experts;
  const std::int64_t one_more = left % experts;
  std::nth_element(order_.begin(), order_.begin() + one_more, order_.end(), larger_remainder);
  for (std::int64_t i = 0; i < experts; ++i) {
    counts[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])] +=
        each + (i < one_more ? 1 : 0);
  }
}

// One binomial draw per expert, of the choices that the experts before it left.
void count_sampler::add_multinomial(std::span<const double> probabilities, std::int64_t choices,
                                    random_stream& stream, std::span<std::int64_t> counts) {
  if (choices == 0) return;
  reals_.resize(probabilities.size());  // of this and all later experts
  double sum = 0;
  for (std::size_t i = probabilities.size(); i-- > 0;) reals_[i] = sum += probabilities[i];
  std::int64_t left = choices;
  for (std::size_t i = 0; i < probabilities.size() && left > 0; ++i) {
    if (!(probabilities[i] > 0)) continue;
    const std::int64_t drawn = draw_binomial(left, probabilities[i] / reals_[i], stream);
    counts[i] += drawn;
    left -= drawn;
  }
}

void count_sampler::limit_counts(std::int64_t tokens, std::span<std::int64_t> counts) {
  std::int64_t excess = 0;
  for (std::int64_t& count : counts) {
    excess += std::max<std::int64_t>(count - tokens, 0);
    count = std::min(count, tokens);
  }
  while (excess > 0) {
    double open_sum = 0;
    for (const std::int64_t count : counts)
      open_sum += count < tokens ? static_cast<double>(count + 1) : 0.0;
    const auto to_deal = static_cast<double>(excess);
    for (std::int64_t& count : counts) {
      if (count >= tokens || excess == 0) continue;
      const auto part =
          static_cast<std::int64_t>(to_deal * static_cast<double>(count + 1) / open_sum) + 1;
      const std::int64_t given = std::min({part, excess, tokens - count});
      count += given;
      excess -= given;
    }
  }
}

}  // namespace ballast
