#include "jobs/loads/portable_math.hpp"

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>

static_assert(FLT_EVAL_METHOD == 0,
              "doubles must be evaluated as doubles for the same bits everywhere");
#ifdef __FAST_MATH__
#error "-ffast-math changes results; build jobs/loads without it"
#endif

namespace ballast {

namespace {

// ln 2 in two parts: the high one has 32 trailing zero bits, so that it times a small integer is
// exact.
constexpr double ln2_high = 0x1.62e42fee00000p-1;
constexpr double ln2_low = 0x1.a39ef35793c76p-33;

/// c[0] + c[1] x + ... by Horner's rule, in this order of operations.
template <int Count>
double polynomial(const double (&coefficients)[Count], double x) {
  double sum = coefficients[Count - 1];
  for (int i = Count - 2; i >= 0; --i) sum = sum * x + coefficients[i];
  return sum;
}

}  // namespace

double portable_exp(double x) {
  if (x < -708.0) return 0.0;
  if (x > 709.0) x = 709.0;
  constexpr double taylor[] = {1.0,
                               1.0,
                               1.0 / 2,
                               1.0 / 6,
                               1.0 / 24,
                               1.0 / 120,
                               1.0 / 720,
                               1.0 / 5040,
                               1.0 / 40320,
                               1.0 / 362880,
                               1.0 / 3628800,
                               1.0 / 39916800,
                               1.0 / 479001600,
                               1.0 / 6227020800.0};
  const double power = std::floor(x * 1.4426950408889634 + 0.5);
  const double rest =
      (x - power * ln2_high) - power * ln2_low;  // |rest| <= 0.347: the next term is below 1e-17
  const auto exponent_bits = static_cast<std::uint64_t>(1023 + static_cast<std::int64_t>(power))
                             << 52;
  return polynomial(taylor, rest) * std::bit_cast<double>(exponent_bits);
}

double portable_log(double x) {
  constexpr std::uint64_t fraction_mask = (std::uint64_t{1} << 52) - 1;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto power = static_cast<std::int64_t>(bits >> 52) - 1023;
  double fraction = std::bit_cast<double>((bits & fraction_mask) | std::uint64_t{1023} << 52);
  if (fraction > 1.4142135623730951) {
    fraction *= 0.5;
    ++power;
  }
  // log(f) = 2 atanh(s) with s = (f - 1) / (f + 1), |s| <= 0.172: the next term is below 1e-18.
  constexpr double atanh_series[] = {1.0,      1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9, 1.0 / 11,
                                     1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21};
  const double s = (fraction - 1.0) / (fraction + 1.0);
  const auto scale = static_cast<double>(power);
  return scale * ln2_high + (2.0 * s * polynomial(atanh_series, s * s) + scale * ln2_low);
}

double normal_quantile(double p) {
  constexpr double a[] = {3.3871328727963666080e0,  1.3314166789178437745e+2,
                          1.9715909503065514427e+3, 1.3731693765509461125e+4,
                          4.5921953931549871457e+4, 6.7265770927008700853e+4,
                          3.3430575583588128105e+4, 2.5090809287301226727e+3};
  constexpr double b[] = {1.0,
                          4.2313330701600911252e+1,
                          6.8718700749205790830e+2,
                          5.3941960214247511077e+3,
                          2.1213794301586595867e+4,
                          3.9307895800092710610e+4,
                          2.8729085735721942674e+4,
                          5.2264952788528545610e+3};
  constexpr double c[] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                          5.76949722146069140550e0,  3.64784832476320460504e0,
                          1.27045825245236838258e0,  2.41780725177450611770e-1,
                          2.27238449892691845833e-2, 7.74545014278341407640e-4};
  constexpr double d[] = {1.0,
                          2.05319162663775882187e0,
                          1.67638483018380384940e0,
                          6.89767334985100004550e-1,
                          1.48103976427480074590e-1,
                          1.51986665636164571966e-2,
                          5.47593808499534494600e-4,
                          1.05075007164441684324e-9};
  constexpr double e[] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                          1.78482653991729133580e0,  2.96560571828504891230e-1,
                          2.65321895265761230930e-2, 1.24266094738807843860e-3,
                          2.71155556874348757815e-5, 2.01033439929228813265e-7};
  constexpr double f[] = {1.0,
                          5.99832206555887937690e-1,
                          1.36929880922735805310e-1,
                          1.48753612908506148525e-2,
                          7.86869131145613259100e-4,
                          1.84631831751005468180e-5,
                          1.42151175831644588870e-7,
                          2.04426310338993978564e-15};
  const double q = p - 0.5;
  if (q >= -0.425 && q <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(a, r) / polynomial(b, r);
  }
  const double tail = std::sqrt(-portable_log(q < 0 ? p : 1.0 - p));
  const double z = tail <= 5.0 ? polynomial(c, tail - 1.6) / polynomial(d, tail - 1.6)
                               : polynomial(e, tail - 5.0) / polynomial(f, tail - 5.0);
  return q < 0 ? -z : z;
}

}  // namespace ballast
