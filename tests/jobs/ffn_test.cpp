// The expert FFN of replay against integer arithmetic. The activations are not told to its users,
// so the first run uses an FFN made by hand that gives them away; the second run must be exactly
// what integers say.
#include "jobs/replay/ffn.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace ballast {
namespace {

constexpr ffn_shape shape = {64, 128};
constexpr int tokens = 40;

// Rows hold experts 0..rows-1.
replay_weights filled(int rows) {
  replay_weights weights(1, rows, ffn_tensor_bytes(shape), weight_content::ternary);
  for (int row = 0; row < rows; ++row) weights.fill(0, row, row);
  return weights;
}

float* tensor_of(replay_weights& weights, int tensor, int row) {
  const ballast_tensor t = weights.tensors(0)[tensor];
  return reinterpret_cast<float*>(static_cast<std::byte*>(t.base) + row * t.row_stride);
}

class ffn : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_openblas()) GTEST_SKIP() << "this build has no OpenBLAS";
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks_);
  }

  // Activations [tokens][hidden] of this rank: gate and up pick +x and -x, so h is x squared on the
  // side of x's sign, and down takes the sides apart: y = sign(x) x^2.
  std::vector<int> activations(std::int64_t step) {
    replay_weights probe(1, 1, ffn_tensor_bytes(shape), weight_content::ternary);
    float* gates = tensor_of(probe, 0, 0);
    float* ups = tensor_of(probe, 1, 0);
    float* downs = tensor_of(probe, 2, 0);
    for (int i = 0; i < shape.intermediate; ++i) {
      for (int h = 0; h < shape.hidden; ++h) {
        const float side = i < shape.hidden ? 1.0f : -1.0f;
        const bool own = i % shape.hidden == h;
        gates[i * shape.hidden + h] = own ? 64 * side : 0;
        ups[i * shape.hidden + h] = own ? side : 0;
        downs[h * shape.intermediate + i] = own ? side : 0;
      }
    }
    std::vector<float> outputs;
    expert_ffn(collectives(MPI_COMM_WORLD), shape, 1)
        .run(probe, 0, step, std::vector<std::int32_t>(tokens, rank_), 1, outputs);
    std::vector<int> x;
    for (const float y : outputs)
      x.push_back(static_cast<int>(std::copysign(std::lround(std::sqrt(std::abs(y))), y)));
    return x;
  }

  // FFN of one token by the expert in `row`, in integers.
  std::vector<std::int64_t> by_integers(replay_weights& weights, int row, const int* x) {
    const float* gates = tensor_of(weights, 0, row);
    const float* ups = tensor_of(weights, 1, row);
    const float* downs = tensor_of(weights, 2, row);
    std::vector<std::int64_t> y(shape.hidden, 0);
    for (int i = 0; i < shape.intermediate; ++i) {
      std::int64_t gate = 0, up = 0;
      for (int h = 0; h < shape.hidden; ++h) {
        gate += static_cast<std::int64_t>(gates[i * shape.hidden + h]) * x[h];
        up += static_cast<std::int64_t>(ups[i * shape.hidden + h]) * x[h];
      }
      const std::int64_t inner =
          std::clamp<std::int64_t>(std::max<std::int64_t>(gate, 0) * up / 64, -127, 127);
      for (int h = 0; h < shape.hidden; ++h)
        y[h] += static_cast<std::int64_t>(downs[h * shape.intermediate + i]) * inner;
    }
    return y;
  }

  int rank_ = 0;
  int ranks_ = 1;
};

TEST_F(ffn, activations_are_small_integers_that_depend_on_step_token_and_rank) {
  const std::vector<int> x = activations(5);
  ASSERT_EQ(x.size(), static_cast<std::size_t>(tokens * shape.hidden));
  for (int value = -2; value <= 2; ++value)
    EXPECT_GT(std::count(x.begin(), x.end(), value), 40) << value;
  EXPECT_EQ(std::count_if(x.begin(), x.end(), [](int v) { return std::abs(v) > 2; }), 0);
  EXPECT_EQ(activations(5), x);
  EXPECT_NE(activations(6), x);
  EXPECT_FALSE(std::equal(x.begin(), x.begin() + shape.hidden, x.begin() + shape.hidden));
}

TEST_F(ffn, outputs_are_exactly_those_of_integer_arithmetic) {
  constexpr int rows = 5;
  constexpr int columns = 3;
  replay_weights weights = filled(rows);  // every rank holds experts 0..4 in its rows
  expert_ffn run(collectives(MPI_COMM_WORLD), shape, rows);
  for (const std::int64_t step : {0, 5, 100000}) {
    const std::vector<int> x = activations(step);
    std::mt19937_64 random(static_cast<std::uint64_t>(step + rank_));
    std::vector<std::int32_t> slots(tokens * columns);
    for (std::int32_t& slot : slots)
      slot = static_cast<std::int32_t>(random() % (rows * ranks_ + 1)) - 1;
    std::vector<float> outputs;
    run.run(weights, 0, step, slots, columns, outputs);
    ASSERT_EQ(outputs.size(), static_cast<std::size_t>(tokens * shape.hidden));
    std::int64_t largest = 0;
    for (int token = 0; token < tokens; ++token) {
      std::vector<std::int64_t> expected(shape.hidden, 0);
      for (int c = 0; c < columns; ++c) {
        if (slots[token * columns + c] < 0) continue;
        const auto y = by_integers(weights, slots[token * columns + c] % rows,
                                   x.data() + token * shape.hidden);
        for (int h = 0; h < shape.hidden; ++h) expected[h] += (c + 1) * y[h];
      }
      for (int h = 0; h < shape.hidden; ++h) {
        ASSERT_EQ(outputs[token * shape.hidden + h], static_cast<float>(expected[h]))
            << "step " << step << ", token " << token;
        largest = std::max(largest, std::abs(expected[h]));
      }
    }
    EXPECT_GT(largest, 0) << "all outputs were zero: nothing was shown";
  }
}

TEST_F(ffn, outputs_do_not_depend_on_where_the_experts_are) {
  constexpr int rows = 4;
  replay_weights weights = filled(rows);
  replay_weights turned(1, rows, ffn_tensor_bytes(shape), weight_content::ternary);
  for (int row = 0; row < rows; ++row) turned.fill(0, row, (row + rank_ + 1) % rows);
  std::mt19937_64 random(7);
  std::vector<std::int32_t> at_home(tokens * 2), elsewhere(tokens * 2);
  for (int i = 0; i < tokens * 2; ++i) {
    const int expert = static_cast<int>(random() % rows);
    const int rank = static_cast<int>(random() % ranks_);
    at_home[i] = rank_ * rows + expert;
    elsewhere[i] = rank * rows + (expert + 2 * rows - rank % rows - 1) % rows;
  }
  expert_ffn run(collectives(MPI_COMM_WORLD), shape, rows);
  std::vector<float> here, there;
  run.run(weights, 0, 3, at_home, 2, here);
  run.run(turned, 0, 3, elsewhere, 2, there);
  EXPECT_EQ(here, there);
}

TEST_F(ffn, one_changed_weight_changes_the_outputs) {
  replay_weights weights = filled(1);
  const std::vector<std::int32_t> slots(tokens, rank_);
  expert_ffn run(collectives(MPI_COMM_WORLD), shape, 1);
  std::vector<float> before, after;
  run.run(weights, 0, 3, slots, 1, before);
  EXPECT_GT(std::count_if(before.begin(), before.end(), [](float y) { return y != 0; }),
            tokens * shape.hidden / 2);
  tensor_of(weights, 2, 0)[17] += 1;
  run.run(weights, 0, 3, slots, 1, after);
  EXPECT_NE(before, after);
}

TEST_F(ffn, ranks_without_tokens_take_part) {
  replay_weights weights = filled(1);
  std::vector<float> outputs = {1, 2};
  expert_ffn(collectives(MPI_COMM_WORLD), shape, 1)
      .run(weights, 0, 0, std::vector<std::int32_t>(rank_ == 0 ? 0 : 2, 0), 1, outputs);
  EXPECT_EQ(outputs.size(), rank_ == 0 ? 0u : static_cast<std::size_t>(2 * shape.hidden));
}

TEST(ffn_shape, shapes_whose_sums_leave_the_exact_range_are_refused) {
  EXPECT_NO_THROW(check_ffn_shape({64, 128}));
  EXPECT_NO_THROW(check_ffn_shape({2048, 2048}));
  EXPECT_THROW(check_ffn_shape({2049, 128}), std::invalid_argument);
  EXPECT_THROW(check_ffn_shape({64, 2065}), std::invalid_argument);
}

TEST(ffn_tensors, gate_up_and_down_have_the_shape_s_size) {
  EXPECT_EQ(ffn_tensor_bytes({64, 128}), (std::vector<std::size_t>{32768, 32768, 32768}));
}

}  // namespace
}  // namespace ballast
