// The generator's arithmetic: close to the mathematical library's, and draws of the right mean and
// variance.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>

#include "jobs/loads/count_noise.hpp"
#include "jobs/loads/portable_math.hpp"
#include "jobs/loads/printable.hpp"

namespace ballast {
namespace {

double relative_error(double value, double reference) {
  return std::abs(value - reference) / std::abs(reference);
}

TEST(loads_random, exp_and_log_are_those_of_the_library_to_15_digits) {
  for (double x = -707.9; x < 708.9; x += 0.0937) {
    ASSERT_LT(relative_error(portable_exp(x), std::exp(x)), 1e-15) << x;
    const double y = std::exp(x);
    ASSERT_LT(std::abs(portable_log(y) - std::log(y)), 1e-15 * std::max(1.0, std::abs(x))) << y;
  }
  EXPECT_EQ(portable_exp(0), 1.0);
  EXPECT_EQ(portable_exp(-709), 0.0);
  EXPECT_TRUE(std::isfinite(portable_exp(1e9)));
  EXPECT_EQ(portable_log(1), 0.0);
}

TEST(loads_random, normal_quantile_inverts_the_normal_distribution) {
  for (double z = -8; z <= 5; z += 0.013) {
    const double p = 0.5 * std::erfc(-z / std::sqrt(2.0));
    ASSERT_NEAR(normal_quantile(p), z, 1e-10) << z;  // above 5, p itself has too few digits
  }
  EXPECT_EQ(normal_quantile(0.5), 0.0);
  EXPECT_NEAR(normal_quantile(0.975), -normal_quantile(0.025), 1e-14);
}

// A multiplication fused with an addition somewhere would show here.
TEST(loads_random, functions_have_the_same_bits_on_every_machine) {
  std::uint64_t sum = 1469598103934665603ull;
  const auto absorb = [&](double value) {
    sum = (sum ^ std::bit_cast<std::uint64_t>(value)) * 1099511628211ull;
  };
  random_stream stream(3, 1, 4, 1);
  for (int i = 0; i < 20000; ++i) {
    const double u = stream.uniform();
    absorb(portable_exp(20 * u - 10));
    absorb(portable_log(u));
    absorb(normal_quantile(u));
    absorb(draw_gamma(0.1 + 3 * u, stream));
  }
  EXPECT_EQ(sum, 0xca3b94274285fa77ull);
}

TEST(loads_random, uniform_stays_inside_and_streams_differ) {
  random_stream stream(1, 2, 3, 4);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double u = stream.uniform();
    ASSERT_GT(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
  const std::uint64_t first = random_stream(1, 2, 3, 4).next();
  EXPECT_NE(first, random_stream(2, 2, 3, 4).next());
  EXPECT_NE(first, random_stream(1, 3, 3, 4).next());
  EXPECT_NE(first, random_stream(1, 2, 4, 3).next());
  EXPECT_NE(first, random_stream(1, 2, 3, 5).next());
}

TEST(loads_random, binomial_draws_have_binomial_mean_and_variance) {
  for (const std::int64_t trials : {1, 7, 40, 500, 32768}) {
    for (const double p : {0.001, 0.1, 0.37, 0.5, 0.9, 0.999}) {
      random_stream stream(5, 0, static_cast<std::uint64_t>(trials),
                           static_cast<std::uint64_t>(p * 1000));
      constexpr int draws = 20000;
      double sum = 0, squares = 0;
      for (int i = 0; i < draws; ++i) {
        const std::int64_t drawn = draw_binomial(trials, p, stream);
        ASSERT_GE(drawn, 0);
        ASSERT_LE(drawn, trials);
        sum += static_cast<double>(drawn);
        squares += static_cast<double>(drawn) * static_cast<double>(drawn);
      }
      const double mean = sum / draws, variance = squares / draws - mean * mean;
      const double wanted = static_cast<double>(trials) * p * (1 - p);
      EXPECT_NEAR(mean, static_cast<double>(trials) * p, 5 * std::sqrt(wanted / draws))
          << trials << " " << p;
      // The fourth moment makes rare events' variance noisier.
      EXPECT_NEAR(variance, wanted, wanted * (0.05 + 5 / std::sqrt(draws * wanted)))
          << trials << " " << p;
    }
  }
}

TEST(loads_random, binomial_of_certain_outcomes_is_certain) {
  random_stream stream(1, 1, 1, 1);
  EXPECT_EQ(draw_binomial(0, 0.5, stream), 0);
  EXPECT_EQ(draw_binomial(9, 0, stream), 0);
  EXPECT_EQ(draw_binomial(9, 1, stream), 9);
  EXPECT_EQ(draw_binomial(9, 1.0000001, stream), 9);
}

TEST(loads_random, gamma_draws_have_their_shape_as_mean_and_variance) {
  for (const double shape : {0.06, 0.5, 1.0, 3.0, 80.0}) {
    random_stream stream(9, 0, static_cast<std::uint64_t>(shape * 100), 0);
    constexpr int draws = 60000;
    double sum = 0, squares = 0;
    for (int i = 0; i < draws; ++i) {
      const double drawn = draw_gamma(shape, stream);
      sum += drawn;
      squares += drawn * drawn;
    }
    const double mean = sum / draws;
    EXPECT_NEAR(mean, shape, 0.05 * shape) << shape;
    EXPECT_NEAR(squares / draws - mean * mean, shape, 0.12 * shape) << shape;
  }
}

TEST(loads_random, remainders_go_to_the_largest_and_ties_to_the_lower_expert) {
  count_sampler sampler;
  random_stream stream(1, 1, 1, 1);
  std::vector<double> popularity = {1, 1, 1, 1, 1, 1, 1, 1};
  std::vector<std::int64_t> counts(8);
  sampler.draw(popularity, {11, 1}, 0, stream, counts);
  EXPECT_EQ(counts, (std::vector<std::int64_t>{2, 2, 2, 1, 1, 1, 1, 1}));
  popularity = {0.25, 0.75, 0.5, 0,
                0,    0,    0,   2.5};  // of 4: expectations 0.625, 1.875, 1.25, ..., 6.25
  sampler.draw(popularity, {10, 1}, 0, stream, counts);
  EXPECT_EQ(counts, (std::vector<std::int64_t>{1, 2, 1, 0, 0, 0, 0, 6}));
}

TEST(loads_random, an_expert_wanted_by_more_than_all_tokens_is_cut_to_them) {
  count_sampler sampler;
  random_stream stream(1, 1, 1, 1);
  for (const double noise : {0.0, 0.5, 1.0, 4.0}) {
    std::vector<double> popularity = {1000, 10, 10, 10, 0};
    std::vector<std::int64_t> counts(5);
    sampler.draw(popularity, {100, 2}, noise, stream, counts);
    EXPECT_GE(counts[0], 70) << noise;
    EXPECT_LE(counts[0], 100) << noise;
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), 200) << noise;
    // Fewer experts with popularity than a token needs: the others must be chosen all the same.
    popularity = {1, 0, 0, 0, 0};
    sampler.draw(popularity, {100, 2}, noise, stream, counts);
    EXPECT_EQ(counts[0], 100) << noise;
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), 200) << noise;
  }
}

TEST(loads_random, printable_text_is_one_line_and_cut) {
  EXPECT_EQ(printable("caf\xc3\xa9 \n\t\x7f\xff"), "caf\xc3\xa9 ????");
  EXPECT_EQ(printable("\xc2\x9b\xc3"), "???");
  EXPECT_EQ(printable("abcdef", 4), "abcd...");
  EXPECT_EQ(printable("abc\xc3\xa9", 4), "abc...");
  EXPECT_EQ(printable(""), "");
}

}  // namespace
}  // namespace ballast
