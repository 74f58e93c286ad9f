#pragma once
// The options of `ballast bench record`, `route` and `step`.

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/bench/table.hpp"

namespace ballast {

struct record_bench_options {
  bench_output output;
  std::string backend = "host";
  std::vector<std::string> cases = {"128x8/256",   "8192x8/64",   "8192x8/256",
                                    "65536x8/256", "65536x8/512", "2097152x8/256"};
  std::vector<std::string> types = {"int32", "int64"};
};

struct route_bench_options {
  bench_output output;
  std::string backend = "host";
  std::int64_t tokens = 65536;
  std::int32_t columns = 8;
  std::int32_t experts = 256;
};

struct step_bench_options {
  bench_output output;
  std::string backend = "host";
  std::int32_t batches = 3000;
  std::int32_t epochs = 20;
  std::int32_t layers = 8;
  std::int32_t experts = 64;
  std::int64_t expert_kib = 64;
  std::int32_t lag = 2;
};

}  // namespace ballast
