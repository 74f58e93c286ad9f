// Generated loads are exact where they must be and calibrated where they imitate: sums, bounds and
// bytes; skew, domains, drift and noise.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

#include "jobs/loads/generator.hpp"
#include "tests/jobs/loads_files.hpp"

namespace ballast {
namespace {

using counts = std::vector<std::int64_t>;

std::vector<double> row_of(const counts& all, int layer, int experts) {
  const auto first = all.begin() + std::int64_t{layer} * experts;
  return {first, first + experts};
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double covariance(const std::vector<double>& a, const std::vector<double>& b) {
  const double mean_a = mean_of(a), mean_b = mean_of(b);
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - mean_a) * (b[i] - mean_b);
  return sum / static_cast<double>(a.size());
}

double cv_of(const std::vector<double>& values) {
  return std::sqrt(covariance(values, values)) / mean_of(values);
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  return covariance(a, b) / std::sqrt(covariance(a, a) * covariance(b, b));
}

/// Mean over layers of the correlation over experts between two steps.
double correlation_of_steps(load_source& source, std::int64_t one, std::int64_t other) {
  const counts a = counts_of(source, one), b = counts_of(source, other);
  double sum = 0;
  for (int layer = 0; layer < source.layers(); ++layer) {
    sum += correlation(row_of(a, layer, source.experts()), row_of(b, layer, source.experts()));
  }
  return sum / source.layers();
}

std::vector<double> cv_of_layers(load_source& source, std::int64_t step) {
  const counts all = counts_of(source, step);
  std::vector<double> values;
  for (int layer = 0; layer < source.layers(); ++layer)
    values.push_back(cv_of(row_of(all, layer, source.experts())));
  return values;
}

// FNV-1a over the counts of the first steps.
std::uint64_t checksum(load_source& source, std::int64_t steps) {
  std::uint64_t sum = 1469598103934665603ull;
  for (std::int64_t step = 0; step < steps; ++step) {
    for (const std::int64_t count : counts_of(source, step))
      sum = (sum ^ static_cast<std::uint64_t>(count)) * 1099511628211ull;
  }
  return sum;
}

TEST(loads_generator, bytes_are_the_same_on_every_machine) {
  const struct {
    const char* spec;
    std::uint64_t checksum;
  } golden[] = {
      {"model=deepseek-v2-lite", 0x6ed7bb0f550b900b},
      {"noise=15,steps=30,domain_steps=7", 0x758534ac8e6b98db},
      {"marginal=gamma,cv=1.13,model=qwen3-30b,domain_steps=5", 0x1ea006916424153f},
      {"marginal=zipf,tokens_per_step=64", 0x337329aaa2a92499},
      {"noise=0", 0xfc7a3d2cc3f81df5},
      {"noise=0.5,drift=1,marginal=uniform", 0xd8be9f3422341051},
      {"cv=3,marginal=gamma,layers=3", 0xb4a1e909207fb341},
  };
  for (const auto& test : golden) {
    const auto source = make_generator(test.spec);
    EXPECT_EQ(checksum(*source, 30), test.checksum) << test.spec;
  }
}

TEST(loads_generator, every_layer_sums_exactly_and_no_expert_passes_the_tokens) {
  constexpr unsigned seed = 7;
  std::mt19937_64 random(seed);
  const int sizes[] = {1, 2, 3, 7, 8, 31, 64, 257};
  const std::int64_t tokens_choices[] = {1, 2, 13, 512, 4096};
  const double noises[] = {0, 0.3, 1, 1.5, 15, 1e6};
  for (int round = 0; round < 300; ++round) {
    generator_spec spec;
    spec.layers = 1 + static_cast<int>(random() % 3);
    spec.experts = sizes[random() % std::size(sizes)];
    spec.top_k =
        1 + static_cast<int>(random() % static_cast<unsigned>(std::min(*spec.experts, 10)));
    if (round % 10 == 0) spec.top_k = spec.experts;
    spec.shape = static_cast<marginal>(random() % marginal_count);
    spec.cv =
        spec.shape == marginal::zipf ? 0.2 : std::array{0.0, 0.005, 0.1, 0.78, 3.0}[random() % 5];
    spec.drift = std::array{0.0, 0.02, 1.0}[random() % 3];
    spec.domains = 1 + static_cast<int>(random() % 3);
    spec.domain_steps = 1 + static_cast<int>(random() % 5);
    spec.tokens_per_step = tokens_choices[random() % std::size(tokens_choices)];
    spec.noise =
        std::min(noises[random() % std::size(noises)],
                 1 + (spec.tokens_per_step * *spec.top_k - 1) / (1 + *spec.experts / 16.0));
    spec.steps = 12;
    spec.seed = random();
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round) + ": " +
                 to_string(spec));
    const auto source = make_generator(spec);
    for (std::int64_t step = 0; step < source->steps(); ++step) {
      const counts all = counts_of(*source, step);
      for (int layer = 0; layer < source->layers(); ++layer) {
        const auto row = std::span(all).subspan(static_cast<std::size_t>(layer * source->experts()),
                                                static_cast<std::size_t>(source->experts()));
        ASSERT_EQ(std::accumulate(row.begin(), row.end(), std::int64_t{0}),
                  spec.tokens_per_step * *spec.top_k);
        ASSERT_GE(*std::min_element(row.begin(), row.end()), 0);
        ASSERT_LE(*std::max_element(row.begin(), row.end()), spec.tokens_per_step);
      }
    }
  }
}

TEST(loads_generator, all_experts_chosen_means_every_count_is_the_tokens) {
  const auto source =
      make_generator("model=mixtral-8x7b,top_k=8,tokens_per_step=77,noise=3,steps=3");
  EXPECT_EQ(counts_of(*source, 2), counts(32 * 8, 77));
}

TEST(loads_generator, a_step_is_the_same_whatever_was_asked_before) {
  const char* spec = "model=deepseek-v2-lite,layers=3,drift=0.1,domain_steps=5,steps=40,noise=4";
  const auto sequential = make_generator(spec);
  std::vector<counts> steps;
  for (std::int64_t step = 0; step < 40; ++step) steps.push_back(counts_of(*sequential, step));
  const auto jumping = make_generator(spec);
  for (const std::int64_t step : {39, 0, 17, 17, 3, 20, 19, 4, 5, 6}) {
    EXPECT_EQ(counts_of(*jumping, step), steps[static_cast<std::size_t>(step)]) << "step " << step;
  }
  EXPECT_NE(steps[0], steps[1]);
}

TEST(loads_generator, another_seed_gives_other_loads) {
  EXPECT_NE(checksum(*make_generator("layers=2,seed=1"), 2),
            checksum(*make_generator("layers=2,seed=2"), 2));
}

TEST(loads_generator, skew_is_as_asked_and_varies_twofold_between_layers) {
  for (const char* shape : {"lognormal", "gamma", "zipf"}) {
    for (const double cv : {0.16, 0.51, 0.78, 1.13}) {
      const auto source =
          make_generator("layers=200,noise=0,tokens_per_step=65536,marginal=" + std::string(shape) +
                         ",cv=" + std::to_string(cv));
      std::vector<double> values = cv_of_layers(*source, 0);
      SCOPED_TRACE(std::string(shape) + " cv " + std::to_string(cv));
      EXPECT_NEAR(median_of(values), cv, 0.1 * cv);
      std::sort(values.begin(), values.end());
      const double ratio = values[values.size() * 19 / 20] / values[values.size() / 20];
      EXPECT_GT(ratio, 1.6);
      EXPECT_LT(ratio, 2.8);
    }
  }
}

TEST(loads_generator, skew_stays_as_asked_after_a_long_walk) {
  const auto source =
      make_generator("layers=64,noise=0,tokens_per_step=65536,drift=0.3,domains=1,steps=101");
  EXPECT_NEAR(median_of(cv_of_layers(*source, 100)), 0.78, 0.08);
}

TEST(loads_generator, uniform_is_flat) {
  const auto source = make_generator("layers=4,marginal=uniform,noise=0,experts=128");
  EXPECT_EQ(counts_of(*source, 0), counts(4 * 128, 4096 * 8 / 128));
}

TEST(loads_generator, layers_are_independent) {
  const auto source = make_generator("noise=0");
  const counts all = counts_of(*source, 0);
  double sum = 0;
  for (int layer = 1; layer < 58; ++layer)
    sum += correlation(row_of(all, layer - 1, 256), row_of(all, layer, 256));
  EXPECT_NEAR(sum / 57, 0, 0.03);
}

TEST(loads_generator, domains_correlate_by_fifteen_percent) {
  for (const char* shape : {"lognormal,cv=0.78", "gamma,cv=1.13", "zipf,cv=0.5"}) {
    const auto source = make_generator(
        std::string("layers=200,drift=0,noise=0,domain_steps=10,steps=20,marginal=") + shape);
    EXPECT_NEAR(correlation_of_steps(*source, 9, 19), 0.15, 0.025) << shape;
  }
}

TEST(loads_generator, domains_correlate_so_after_a_long_walk_too) {
  const auto source = make_generator(
      "layers=100,drift=0.3,noise=0,domain_steps=60,steps=200,tokens_per_step=65536");
  // The walk itself is nearly forgotten after 60 steps; what ties steps 59 and 63 is the common
  // part, three steps old.
  EXPECT_NEAR(correlation_of_steps(*source, 59, 63), 0.15 * std::pow(1 - 0.09, 2), 0.03);
}

TEST(loads_generator, a_domain_changes_on_its_step_and_blends_over_four) {
  const auto source = make_generator("layers=20,drift=0,noise=0,domain_steps=50,steps=200");
  EXPECT_EQ(counts_of(*source, 0), counts_of(*source, 49));
  EXPECT_EQ(counts_of(*source, 53), counts_of(*source, 99));
  const double old_part[] = {
      correlation_of_steps(*source, 49, 50), correlation_of_steps(*source, 49, 51),
      correlation_of_steps(*source, 49, 52), correlation_of_steps(*source, 49, 53)};
  EXPECT_GT(old_part[0], 0.9);
  for (int i = 1; i < 4; ++i) EXPECT_LT(old_part[i], old_part[i - 1] - 0.05);
  EXPECT_LT(old_part[3], 0.3);
}

TEST(loads_generator, one_domain_never_changes) {
  const auto source = make_generator("layers=2,drift=0,noise=0,domains=1,domain_steps=3,steps=20");
  EXPECT_EQ(counts_of(*source, 0), counts_of(*source, 19));
}

TEST(loads_generator, drift_is_slow_and_forgets) {
  const auto source = make_generator("layers=20,drift=0.1,noise=0,domains=1,steps=1001");
  EXPECT_GT(correlation_of_steps(*source, 0, 1), 0.98);
  // Latent correlation 0.995^50 = 0.78; that of log-normal loads is a little lower.
  EXPECT_NEAR(correlation_of_steps(*source, 0, 100), 0.56, 0.08);
  EXPECT_NEAR(correlation_of_steps(*source, 0, 1000), 0, 0.08);
}

/// Variance of the counts over steps of a fixed popularity, over that of independent choices; mean
/// over experts.
double variance_ratio(load_source& source) {
  const std::size_t cells =
      static_cast<std::size_t>(source.layers()) * static_cast<std::size_t>(source.experts());
  std::vector<double> sum(cells), squares(cells);
  const auto steps = static_cast<double>(source.steps());
  for (std::int64_t step = 0; step < source.steps(); ++step) {
    const counts all = counts_of(source, step);
    for (std::size_t i = 0; i < cells; ++i) {
      sum[i] += static_cast<double>(all[i]);
      squares[i] += static_cast<double>(all[i]) * static_cast<double>(all[i]);
    }
  }
  const double choices = static_cast<double>(source.tokens_per_step(0)) * source.top_k();
  double measured = 0, independent = 0;
  for (std::size_t i = 0; i < cells; ++i) {
    const double mean = sum[i] / steps;
    measured += (squares[i] - steps * mean * mean) / (steps - 1);
    independent += mean * (1 - mean / choices);
  }
  return measured / independent;
}

TEST(loads_generator, noise_is_the_variance_ratio_asked) {
  for (const char* shape : {"uniform", "lognormal"}) {
    for (const int tokens : {64, 4096}) {
      for (const double noise : {0.0, 0.5, 1.0, 3.0, 15.0}) {
        if (tokens == 64 && noise > 3) continue;
        generator_spec spec = parse_generator_spec(
            std::string("layers=2,drift=0,domains=1,steps=400,marginal=") + shape);
        spec.tokens_per_step = tokens;
        spec.noise = noise;
        const double ratio = variance_ratio(*make_generator(spec));
        EXPECT_NEAR(ratio, noise, 0.05 * noise) << to_string(spec);
      }
    }
  }
}

TEST(loads_generator, noise_leaves_the_expectation) {
  const auto exact =
      make_generator("layers=1,experts=64,drift=0,domains=1,noise=0,tokens_per_step=512,steps=1");
  const counts expected = counts_of(*exact, 0);
  for (const char* noise : {"1", "5"}) {
    const auto noisy = make_generator(
        std::string("layers=1,experts=64,drift=0,domains=1,tokens_per_step=512,steps=2000,noise=") +
        noise);
    counts sums(64);
    sum_window(*noisy, {0, 2000}, sums);
    for (std::size_t i = 0; i < 64; ++i) {
      const double wanted = static_cast<double>(expected[i]);
      EXPECT_NEAR(static_cast<double>(sums[i]) / 2000, wanted,
                  0.6 + 5 * std::sqrt(5 * (wanted + 1) / 2000))
          << "expert " << i;
    }
  }
}

}  // namespace
}  // namespace ballast
