#pragma once
// What a ballast_plan handle of the C interface holds.

#include <cstdint>
#include <vector>

#include "policies/explain.hpp"
#include "policies/plan.hpp"
#include "policies/schedule.hpp"
#include "runtime/ballast.h"

struct ballast_plan {
  ballast::plan made;
  ballast_plan_summary summary = {};
  // For explaining:
  std::vector<std::int64_t> loads;  // [layers][experts]
  ballast::placement current;
  ballast::schedule steps;
  std::vector<ballast_plan_move> moves;  // of the layer explained last
};
