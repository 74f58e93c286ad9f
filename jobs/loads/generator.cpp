#include "jobs/loads/generator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "jobs/loads/count_noise.hpp"
#include "jobs/loads/portable_math.hpp"

namespace ballast {

namespace {

constexpr double domain_correlation = 0.15;
constexpr std::int64_t blend_steps_max = 4;

enum purpose : std::uint64_t {
  purpose_skew = 1,
  purpose_start = 2,
  purpose_walk = 3,
  purpose_domain = 4,
  purpose_noise = 5
};

class generator_source final : public load_source {
 public:
  explicit generator_source(generator_spec spec);

  std::int32_t layers() const override { return *spec_.layers; }
  std::int32_t experts() const override { return *spec_.experts; }
  std::int32_t top_k() const override { return *spec_.top_k; }
  std::int64_t steps() const override { return spec_.steps; }
  std::int64_t tokens_per_step(std::int64_t) const override { return spec_.tokens_per_step; }
  void counts(std::int64_t step, std::span<std::int64_t> out) override;
  std::string describe() const override { return fmt::format("generated: {}", to_string(spec_)); }

 private:
  struct layer_shape {
    popularity_table table;
    double common_part;  // of the normal variable; squares of both sum to 1
    double domain_part;
  };

  layer_shape shape_of_layer(std::int32_t layer) const;
  bool stands_still() const {
    return spec_.drift == 0 || spec_.shape == marginal::uniform || spec_.cv == 0;
  }
  void start();
  void advance();
  void walk();
  void popularity_of(std::int32_t layer, std::span<double> popularity) const;
  double weight_of_new_domain() const;

  std::size_t layer_size() const { return static_cast<std::size_t>(experts()); }
  std::vector<double>& normals_of_domain(std::int32_t domain) {
    return normals_[static_cast<std::size_t>(domain) + 1];
  }
  const std::vector<double>& normals_of_domain(std::int32_t domain) const {
    return normals_[static_cast<std::size_t>(domain) + 1];
  }

  generator_spec spec_;
  std::vector<layer_shape> shapes_;
  std::vector<std::vector<double>> normals_;  // common, then each domain: [layers][experts]
  std::int64_t step_ = 0;                     // that the normals are of
  std::int32_t domain_ = 0;                   // served at step_
  std::int32_t domain_before_ = 0;
  std::vector<double> popularity_;
  count_sampler sampler_;
};

generator_source::generator_source(generator_spec spec)
    : spec_(checked(std::move(spec))),
      normals_(static_cast<std::size_t>(spec_.domains) + 1,
               std::vector<double>(static_cast<std::size_t>(*spec_.layers) *
                                   static_cast<std::size_t>(*spec_.experts))),
      popularity_(layer_size()) {
  shapes_.reserve(static_cast<std::size_t>(layers()));
  for (std::int32_t layer = 0; layer < layers(); ++layer) shapes_.push_back(shape_of_layer(layer));
  start();
}

// The cv of the layers are spread evenly, by their logarithm, over a factor of two around the given
// one.
generator_source::layer_shape generator_source::shape_of_layer(std::int32_t layer) const {
  constexpr double log_of_two = 0.69314718055994531;
  random_stream stream(spec_.seed, purpose_skew, static_cast<std::uint64_t>(layer), 0);
  const double cv = spec_.cv * portable_exp((stream.uniform() - 0.5) * log_of_two);
  popularity_table table(spec_.shape, cv, experts());
  const double correlation = table.normal_correlation_for(domain_correlation);
  return {std::move(table), std::sqrt(correlation), std::sqrt(1.0 - correlation)};
}

void generator_source::start() {
  for (std::size_t part = 0; part < normals_.size(); ++part) {
    random_stream stream(spec_.seed, purpose_start, part, 0);
    for (double& normal : normals_[part]) normal = stream.normal();
  }
  step_ = 0;
  domain_ = 0;
  domain_before_ = 0;
}

void generator_source::advance() {
  ++step_;
  if (spec_.domains > 1 && step_ % spec_.domain_steps == 0) {
    random_stream stream(spec_.seed, purpose_domain, 0,
                         static_cast<std::uint64_t>(step_ / spec_.domain_steps));
    const auto others = static_cast<std::uint64_t>(spec_.domains - 1);
    domain_before_ = domain_;
    domain_ = (domain_ + 1 + static_cast<std::int32_t>(stream.below(others))) % spec_.domains;
  }
  if (!stands_still()) walk();
}

// x <- a x + drift * normal with a^2 + drift^2 = 1: the variable stays standard normal.
void generator_source::walk() {
  const double kept = std::sqrt(1.0 - spec_.drift * spec_.drift);
  std::vector<double>& common = normals_[0];
  std::vector<double>& served = normals_of_domain(domain_);
  for (std::int32_t layer = 0; layer < layers(); ++layer) {
    random_stream stream(spec_.seed, purpose_walk, static_cast<std::uint64_t>(layer),
                         static_cast<std::uint64_t>(step_));
    const std::size_t first = static_cast<std::size_t>(layer) * layer_size();
    for (std::size_t cell = first; cell < first + layer_size(); ++cell) {
      common[cell] = kept * common[cell] + spec_.drift * stream.normal();
      served[cell] = kept * served[cell] + spec_.drift * stream.normal();
    }
  }
}

// 1 once the change of domain is over.
double generator_source::weight_of_new_domain() const {
  const std::int64_t blend_steps = std::min(blend_steps_max, spec_.domain_steps);
  const std::int64_t since_change = step_ % spec_.domain_steps;
  if (domain_before_ == domain_ || since_change + 1 >= blend_steps) return 1.0;
  return static_cast<double>(since_change + 1) / static_cast<double>(blend_steps);
}

void generator_source::popularity_of(std::int32_t layer, std::span<double> popularity) const {
  const layer_shape& shape = shapes_[static_cast<std::size_t>(layer)];
  const std::size_t first = static_cast<std::size_t>(layer) * layer_size();
  const double* common = normals_[0].data() + first;
  const double* now = normals_of_domain(domain_).data() + first;
  const double* before = normals_of_domain(domain_before_).data() + first;
  const double weight = weight_of_new_domain();
  for (std::size_t expert = 0; expert < popularity.size(); ++expert) {
    const double shared = shape.common_part * common[expert];
    popularity[expert] = shape.table.at(shared + shape.domain_part * now[expert]);
    if (weight < 1.0) {
      const double old = shape.table.at(shared + shape.domain_part * before[expert]);
      popularity[expert] = weight * popularity[expert] + (1.0 - weight) * old;
    }
  }
}

void generator_source::counts(std::int64_t step, std::span<std::int64_t> out) {
  require_step(step, out.size());
  if (step < step_) start();
  while (step_ < step) advance();
  for (std::int32_t layer = 0; layer < layers(); ++layer) {
    popularity_of(layer, popularity_);
    random_stream stream(spec_.seed, purpose_noise, static_cast<std::uint64_t>(layer),
                         static_cast<std::uint64_t>(step));
    sampler_.draw(popularity_, {spec_.tokens_per_step, top_k()}, spec_.noise, stream,
                  out.subspan(static_cast<std::size_t>(layer) * layer_size(), layer_size()));
  }
}

}  // namespace

std::unique_ptr<load_source> make_generator(const generator_spec& spec) {
  return std::make_unique<generator_source>(spec);
}

std::unique_ptr<load_source> make_generator(std::string_view spec) {
  return make_generator(parse_generator_spec(spec));
}

}  // namespace ballast
