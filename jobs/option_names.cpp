#include "jobs/option_names.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "jobs/exit_code.hpp"
#include "runtime/ballast.h"

namespace ballast {

std::int32_t index_of(const char* option, const std::string& name,
                      const std::vector<std::string>& names) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end())
    throw job_error(exit_code::usage, fmt::format("{} is {}", option, name));
  return static_cast<std::int32_t>(found - names.begin());
}

std::vector<std::string> known_policies() {
  std::vector<std::string> names;
  for (int i = 0; const char* name = ballast_policy_name(i); ++i) names.emplace_back(name);
  return names;
}

}  // namespace ballast
