#include "jobs/loads/popularity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "jobs/loads/portable_math.hpp"

namespace ballast {

namespace {

constexpr std::size_t entry_count = popularity_table::last_entry + 1;
constexpr double entry_width = 1.0 / popularity_table::entries_per_unit;

double normal_of_entry(std::size_t entry) {
  return static_cast<double>(entry) * entry_width - popularity_table::normal_max;
}

/// Probability that belongs to each entry: the normal density times the width, scaled to sum to 1.
const std::vector<double>& entry_weights() {
  static const std::vector<double> weights = [] {
    std::vector<double> density(entry_count);
    double sum = 0;
    for (std::size_t i = 0; i < entry_count; ++i) {
      const double z = normal_of_entry(i);
      sum += density[i] = portable_exp(-0.5 * z * z);
    }
    for (double& value : density) value /= sum;
    return density;
  }();
  return weights;
}

struct moments {
  double mean = 0;
  double variance = 0;
};

moments moments_of(const std::vector<double>& values) {
  const std::vector<double>& weights = entry_weights();
  moments result;
  for (std::size_t i = 0; i < entry_count; ++i) result.mean += weights[i] * values[i];
  for (std::size_t i = 0; i < entry_count; ++i) {
    result.variance += weights[i] * (values[i] - result.mean) * (values[i] - result.mean);
  }
  return result;
}

std::vector<double> lognormal_values(double cv) {
  const double sigma = std::sqrt(portable_log(1.0 + cv * cv));
  std::vector<double> values(entry_count);
  for (std::size_t i = 0; i < entry_count; ++i)
    values[i] = portable_exp(sigma * normal_of_entry(i));
  return values;
}

/// Integrates the density of the logarithm of a gamma variable, exp(k y - e^y) up to a factor, from
/// below and from above, and reads off which normal variable each y belongs to.
std::vector<double> gamma_values(double cv) {
  const double shape = 1.0 / (cv * cv);
  const double first = portable_log(shape) - 21.0 / shape - 1.0;  // less than 1e-9 lies below
  const double last = portable_log(shape + 7.0 * std::sqrt(shape) + 30.0);
  const double width = std::min(0.02, 0.1 * cv);
  const auto points = static_cast<std::size_t>((last - first) / width) + 2;
  std::vector<double> density(points);
  for (std::size_t i = 0; i < points; ++i) {
    const double y = first + static_cast<double>(i) * width;
    density[i] = portable_exp(shape * (y - portable_log(shape)) - (portable_exp(y) - shape));
  }
  std::vector<double> above(points);
  for (std::size_t i = points - 1; i-- > 0;)
    above[i] = above[i + 1] + 0.5 * width * (density[i] + density[i + 1]);

  std::vector<double> values(entry_count);
  std::size_t entry = 0;
  double below = density[0] / shape;  // the density falls as exp(k y) below `first`
  const double total = below + above[0];
  double previous_normal = normal_quantile(below / total);
  while (entry < entry_count && normal_of_entry(entry) <= previous_normal)
    values[entry++] = portable_exp(first);
  for (std::size_t i = 1; i + 1 < points && entry < entry_count; ++i) {
    below += 0.5 * width * (density[i - 1] + density[i]);
    if (above[i] < total * 1e-300) break;
    const double normal =
        below < above[i] ? normal_quantile(below / total) : -normal_quantile(above[i] / total);
    for (; entry < entry_count && normal_of_entry(entry) <= normal; ++entry) {
      const double part = (normal_of_entry(entry) - previous_normal) / (normal - previous_normal);
      values[entry] = portable_exp(first + (static_cast<double>(i - 1) + part) * width);
    }
    previous_normal = normal;
  }
  for (; entry < entry_count; ++entry) values[entry] = portable_exp(last);
  return values;
}

/// (rank + 1/2)^-s, the rank of a normal variable being its upper probability times the experts.
std::vector<double> zipf_values(double cv, std::int32_t experts) {
  const std::vector<double>& weights = entry_weights();
  std::vector<double> log_ranks(entry_count);
  double above = 0;
  for (std::size_t i = entry_count; i-- > 0;) {
    log_ranks[i] = portable_log((above + 0.5 * weights[i]) * experts + 0.5);
    above += weights[i];
  }
  std::vector<double> values(entry_count);
  const auto cv_with = [&](double exponent) {
    for (std::size_t i = 0; i < entry_count; ++i)
      values[i] = portable_exp(-exponent * log_ranks[i]);
    const moments found = moments_of(values);
    return std::sqrt(found.variance) / found.mean;
  };
  double low = 0, high = 4;
  const double cv_max = cv_with(high);
  if (cv_max < cv) {
    throw std::invalid_argument(
        fmt::format("generator: marginal=zipf over {} experts: a layer would need cv {:.3f}, more "
                    "than {:.3f} is not possible",
                    experts, cv, cv_max));
  }
  for (int i = 0; i < 40; ++i) {
    const double middle = 0.5 * (low + high);
    (cv_with(middle) < cv ? low : high) = middle;
  }
  cv_with(high);
  return values;
}

std::vector<double> values_of(marginal shape, double cv, std::int32_t experts) {
  if (experts == 1 || cv == 0 || shape == marginal::uniform)
    return std::vector<double>(entry_count, 1.0);
  // Below 1 % a gamma and a log-normal distribution are the same to 1e-4 of the mean.
  if (shape == marginal::gamma && cv >= 0.01) return gamma_values(cv);
  if (shape == marginal::zipf) return zipf_values(cv, experts);
  return lognormal_values(cv);
}

}  // namespace

const char* to_string(marginal shape) {
  constexpr std::array<const char*, marginal_count> names = {"lognormal", "gamma", "zipf",
                                                             "uniform"};
  return names[static_cast<std::size_t>(shape)];
}

popularity_table::popularity_table(marginal shape, double cv, std::int32_t experts)
    : values_(values_of(shape, cv, experts)) {}

// With the expansion v(z) = sum of c_k h_k(z) in normalised Hermite polynomials, two variables of
// correlation r have popularities of covariance sum over k >= 1 of c_k^2 r^k.
double popularity_table::normal_correlation_for(double wanted) const {
  constexpr int terms = 12;
  const std::vector<double>& weights = entry_weights();
  std::array<double, terms + 1> coefficients{};
  for (std::size_t i = 0; i < entry_count; ++i) {
    const double z = normal_of_entry(i);
    double before = 0, now = 1;
    for (int k = 0; k <= terms; ++k) {
      coefficients[static_cast<std::size_t>(k)] += weights[i] * values_[i] * now;
      const double next = (z * now - std::sqrt(static_cast<double>(k)) * before) /
                          std::sqrt(static_cast<double>(k + 1));
      before = std::exchange(now, next);
    }
  }
  const double variance = moments_of(values_).variance;
  if (!(variance > 0)) return wanted;
  const auto correlation_with = [&](double r) {
    double sum = 0;
    for (int k = terms; k >= 1; --k) {
      const double c = coefficients[static_cast<std::size_t>(k)];
      sum = (sum + c * c) * r;
    }
    return sum / variance;
  };
  double low = 0, high = 1;
  for (int i = 0; i < 50; ++i) {
    const double middle = 0.5 * (low + high);
    (correlation_with(middle) < wanted ? low : high) = middle;
  }
  return high;
}

}  // namespace ballast
