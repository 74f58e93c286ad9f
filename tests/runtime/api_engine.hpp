#pragma once
// A small engine on one rank for the tests of the C interface: 2 layers of 4 experts in 5 slots,
// one tensor.

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/ballast.h"

namespace ballast::testing {

struct engine {
  static constexpr int layers = 2;
  static constexpr int experts = 4;
  static constexpr int slots = 5;
  static constexpr std::size_t row_bytes = 40;

  ballast_config config;
  ballast_context* context = nullptr;
  std::vector<std::array<unsigned char, slots * row_bytes>> weights{layers};

  engine() {
    ballast_config_init(&config);
    config.layers = layers;
    config.experts = experts;
    config.slots_per_rank = slots;
    config.interval = 4;
  }
  ~engine() { EXPECT_EQ(ballast_destroy(context), BALLAST_OK) << ballast_last_error(); }
  engine(const engine&) = delete;

  engine& create() {
    EXPECT_EQ(ballast_create(&config, MPI_COMM_SELF, &context), BALLAST_OK) << ballast_last_error();
    return *this;
  }
  // Every byte of a row is 10 * layer + expert.
  engine& register_layers() {
    for (int layer = 0; layer < layers; ++layer) {
      ballast_layer_tables tables = {};
      tables.struct_size = sizeof(tables);
      EXPECT_EQ(ballast_tables(context, layer, &tables), BALLAST_OK);
      for (std::size_t i = 0; i < weights[layer].size(); ++i) {
        weights[layer][i] =
            static_cast<unsigned char>(10 * layer + tables.expert_of_slot[i / row_bytes]);
      }
      const ballast_tensor tensor = {weights[layer].data(), row_bytes, row_bytes};
      EXPECT_EQ(ballast_register_layer(context, layer, &tensor, 1), BALLAST_OK)
          << ballast_last_error();
    }
    return *this;
  }
  engine& start() {
    EXPECT_EQ(ballast_start(context), BALLAST_OK) << ballast_last_error();
    return *this;
  }
  engine& started() { return create().register_layers().start(); }

  // Steps until an epoch closes; the number of steps, or -1 after 100,000.
  int step_until_closed() const {
    for (int step = 1; step <= 100000; ++step) {
      ballast_step_result result = {};
      result.struct_size = sizeof(result);
      EXPECT_EQ(ballast_step(context, &result), BALLAST_OK) << ballast_last_error();
      if (result.epoch_closed != 0) return step;
    }
    return -1;
  }
  ballast_epoch newest_epoch() const {
    ballast_epoch epoch = {};
    epoch.struct_size = sizeof(epoch);
    EXPECT_EQ(ballast_epoch_report(context, 0, &epoch), BALLAST_OK) << ballast_last_error();
    return epoch;
  }
  ballast_counters counters() const {
    ballast_counters counters = {};
    counters.struct_size = sizeof(counters);
    EXPECT_EQ(ballast_read_counters(context, &counters), BALLAST_OK) << ballast_last_error();
    return counters;
  }
};

inline ballast_ids ids_of(const std::vector<std::int32_t>& values, int columns = 1) {
  ballast_ids ids;
  ballast_ids_init(&ids);
  ids.ids = values.data();
  ids.columns = columns;
  ids.tokens = ids.valid_tokens = static_cast<std::int64_t>(values.size()) / columns;
  return ids;
}

// "status: text" of a call that should fail.
inline std::string outcome(ballast_status status) {
  return status == BALLAST_OK
             ? "ok"
             : std::string(ballast_status_name(status)) + ": " + ballast_last_error();
}

}  // namespace ballast::testing
