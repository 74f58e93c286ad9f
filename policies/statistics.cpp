#include "policies/statistics.hpp"

#include <algorithm>

#if defined(BALLAST_WITH_OPENBLAS)
#include <cblas.h>
#endif

namespace ballast {

namespace {

/// The upper half of the products of every two columns.
void multiply(std::span<const double> samples, int count, int experts, std::span<double> products) {
#if defined(BALLAST_WITH_OPENBLAS)
  cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, experts, count, 1.0, samples.data(), experts,
              0.0, products.data(), experts);
#else
  const auto width = static_cast<std::size_t>(experts);
  const auto row_of = [&](int sample) { return samples.data() + sample * width; };
  for (std::size_t a = 0; a < width; ++a) {
    double* const row = products.data() + a * width;
    std::fill(row + a, row + width, 0.0);
    int sample = 0;
    for (; sample + 4 <= count; sample += 4) {  // fewer passes over the row
      const double* const x = row_of(sample);
      const double* const y = row_of(sample + 1);
      const double* const z = row_of(sample + 2);
      const double* const w = row_of(sample + 3);
      const double xa = x[a], ya = y[a], za = z[a], wa = w[a];
      for (std::size_t b = a; b < width; ++b) {
        row[b] += xa * x[b] + ya * y[b] + za * z[b] + wa * w[b];
      }
    }
    for (; sample < count; ++sample) {
      const double* const x = row_of(sample);
      const double xa = x[a];
      for (std::size_t b = a; b < width; ++b) row[b] += xa * x[b];
    }
  }
#endif
}

}  // namespace

void sample_statistics::compute(std::span<const std::int64_t> samples, int count, int experts) {
  const auto width = static_cast<std::size_t>(experts);
  sums_.assign(width, 0);
  samples_.resize(samples.size());
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples_[i] = static_cast<double>(samples[i]);
    sums_[i % width] += samples[i];
  }
  products_.resize(width * width);
  multiply(samples_, count, experts, products_);
  covariances_.resize(width * width);
  for (std::size_t a = 0; a < width; ++a) {
    for (std::size_t b = a; b < width; ++b) {
      // |n sum xy - sum x sum y| < 2^58 and n / (n - 1) <= 2: what is divided has to be split.
      const std::int64_t spread =
          count * static_cast<std::int64_t>(products_[a * width + b]) - sums_[a] * sums_[b];
      const std::int64_t covariance = spread + spread / (count - 1);
      covariances_[a * width + b] = covariances_[b * width + a] = covariance;
    }
  }
}

}  // namespace ballast
