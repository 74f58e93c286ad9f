#pragma once
// What the tests of reading a configuration start from.

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "runtime/error.hpp"
#include "runtime/settings.hpp"

namespace ballast {

/// 2 layers, 6 experts on 4 ranks of 2 slots.
inline ballast_config good_config() {
  ballast_config config;
  ballast_config_init(&config);
  config.layers = 2;
  config.experts = 6;
  config.slots_per_rank = 2;
  return config;
}

using change = std::function<void(ballast_config&)>;

/// Why good_config with this change is refused, or "accepted".
inline std::string refusal(const change& make, int ranks = 4) {
  ballast_config config = good_config();
  make(config);
  try {
    settings::read(config, ranks);
  } catch (const error& e) {
    EXPECT_EQ(e.status(), BALLAST_ERROR_INVALID_ARGUMENT) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    return e.what();
  }
  return "accepted";
}

}  // namespace ballast
