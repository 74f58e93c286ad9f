#pragma once
// How popular an expert is, as a function of a standard normal variable that drifts: the marginal
// distribution of a layer's loads is reached by mapping the normal through it, so it stays the same
// however far the variable walks.

#include <cstdint>
#include <string_view>
#include <vector>

namespace ballast {

enum class marginal : std::uint8_t { lognormal = 0, gamma = 1, zipf = 2, uniform = 3 };
inline constexpr int marginal_count = 4;
const char* to_string(marginal shape);

/// The quantile function of a marginal with coefficient of variation `cv` over `experts` experts,
/// tabulated over the normal variable. lognormal and gamma: those distributions. zipf: rank^-s with
/// the s that gives cv. uniform: every expert alike; cv has no meaning and is ignored. A single
/// expert is always alike.
class popularity_table {
 public:
  /// Throws std::invalid_argument if a Zipf law over so few experts cannot have this cv.
  popularity_table(marginal shape, double cv, std::int32_t experts);

  /// Popularity, >= 0, of no particular scale. Linear between table entries, constant beyond +-6.
  double at(double normal) const {
    const double position = (normal + normal_max) * entries_per_unit;
    if (!(position > 0)) return values_.front();
    if (position >= last_entry) return values_.back();
    const auto index = static_cast<std::size_t>(position);
    return values_[index] +
           (position - static_cast<double>(index)) * (values_[index + 1] - values_[index]);
  }

  /// The correlation that two normal variables need so that their popularities have correlation
  /// `wanted` (0..1).
  double normal_correlation_for(double wanted) const;

  static constexpr int normal_max = 6;
  static constexpr int entries_per_unit = 64;
  static constexpr int last_entry = 2 * normal_max * entries_per_unit;

 private:
  std::vector<double> values_;  // [last_entry + 1], at normals -6, -6 + 1/64, ... 6
};

}  // namespace ballast
